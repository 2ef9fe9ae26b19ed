"""What a training took, in one line."""

from pipelines.cluster.progress import describe_costs
from tests.tick_rows import ticks


def test_time_adds_up_over_ticks_and_one_slow_tick_does_not_change_the_speed() -> None:
    rows = ticks([{"kimg": 1.0 + i, "sec": sec, "sec_per_kimg": sec} for i, sec in enumerate((2.0, 60.0, 3.0))])
    assert describe_costs(rows) == "3 kimg in 1 min 5 s of training, 3.00 sec/kimg (median)"
