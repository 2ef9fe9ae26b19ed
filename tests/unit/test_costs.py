"""What a training took, in one line."""

import pytest

from pipelines.diagnosis.costs import describe_costs, duration


def test_time_adds_up_over_ticks_and_one_slow_tick_does_not_change_the_speed() -> None:
    ticks = [{"kimg": 1.0 + i, "sec": sec, "sec_per_kimg": sec} for i, sec in enumerate((2.0, 60.0, 3.0))]
    assert describe_costs(ticks) == "3 kimg in 1 min 05 s of training, 3.00 s/kimg (median)"


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.04, "7.0 s"), (65, "1 min 05 s"), (3599.6, "1 h 00 min"), (10920, "3 h 02 min")]
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
