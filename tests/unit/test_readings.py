"""What each curve of the training shows, in one line."""

from collections.abc import Callable

import pytest

from pipelines.diagnosis.training_curves import readings
from pipelines.params import Params
from pipelines.render.charts import PANELS
from tests.tick_rows import tick, ticks

COLUMNS: list[dict[str, float]] = [
    {"kimg": 1.0, "loss/G": 1.0, "loss/D": 1.3, "logits/real": 0.5, "logits/gen": -0.5, "augment/p": 0.1,
     "augment/r_t": 0.5},
    {"kimg": 2.0, "loss/G": 1.2, "loss/D": 1.1, "logits/real": 1.0, "logits/gen": -1.0, "augment/p": 0.2,
     "augment/r_t": 0.6},
    {"kimg": 3.0, "loss/G": 1.4, "loss/D": 0.9, "logits/real": 2.0, "logits/gen": -1.0, "augment/p": 0.3,
     "augment/r_t": 0.8},
]  # fmt: skip
TICKS = ticks(COLUMNS)


def test_each_curve_gets_one_line_from_its_values(make_params: Callable[..., Params]) -> None:
    lines = dict(readings(TICKS, make_params("augment.ada_target=0.6", "augment.p_max=0.8")))
    assert lines["Losses"].startswith("G 1.40, D 0.90 at the end.")
    assert lines["Scores of D"].startswith("Real minus generated widened from 2.00 at 2 kimg to 3.00;")
    assert lines["Augmentation"] == "p ended at 0.30, below its cap of 0.8; it moves so that r_t meets 0.6."


def test_a_p_that_ended_at_0_is_said_to_wait_for_overfitting(make_params: Callable[..., Params]) -> None:
    still = ticks([{**COLUMNS[-1], "augment/p": 0.0}])
    line = dict(readings(still, make_params("augment.mode=ada", "augment.ada_target=0.6")))["Augmentation"]
    assert line == "p ended at 0; it rises only while r_t is above 0.6."


@pytest.mark.parametrize(
    ("mode", "line"),
    [
        ("none", "Augmentation is off (augment.mode: none)."),
        ("fixed", "Fixed at p = 0.30."),
        ("diffaugment", "Every image is augmented, without a p (augment.diffaugment: color, translation, cutout)."),
        ("ada_rv", "p ended at 0.30, below its cap of 0.8; it moves so that r_v meets 0.6."),
    ],
)
def test_the_reading_of_p_follows_the_mode(mode: str, line: str, make_params: Callable[..., Params]) -> None:
    assert dict(readings(TICKS, make_params(f"augment.mode={mode}")))["Augmentation"] == line


def test_the_losses_of_wgan_gp_have_no_equilibrium_of_logarithms(make_params: Callable[..., Params]) -> None:
    line = dict(readings(TICKS, make_params("loss.adversarial=wgan_gp", "augment.mode=none")))["Losses"]
    assert line.startswith("G 1.40, D 0.90 at the end. Minus the loss of D estimates the distance")
    assert "1.39" not in line


def test_curves_that_were_not_logged_are_not_read(tiny_params: Params) -> None:
    titles = [title for title, _ in readings(ticks([{"kimg": 1.0, "loss/r1_penalty": 0.1}]), tiny_params)]
    assert titles == ["R1 penalty"]


def test_what_snapshots_measured_is_read_at_the_last_one(tiny_params: Params) -> None:
    rows = [
        COLUMNS[0],
        COLUMNS[1] | {"monitor/kid": 0.2, "monitor/precision": 0.5, "monitor/recall": 0.25},
        COLUMNS[2] | {"monitor/kid": 0.31, "monitor/precision": 0.6, "monitor/recall": 0.125},
        {"kimg": 4.0},
    ]
    lines = dict(readings(ticks(rows), tiny_params))
    assert lines["KID while training"] == "0.31 at the last snapshot; the lowest was 0.2, at 2 kimg."
    assert lines["Precision and recall while training"] == (
        "Precision 0.6 and recall 0.12 at the last snapshot. Recall that falls while precision rises is variety being "
        "lost."
    )


def test_a_reading_has_the_title_of_its_panel(tiny_params: Params) -> None:
    everything = tick({"kimg": 1.0} | {curve.name: 0.5 for _, curves, _ in PANELS for curve in curves})
    assert all(curve.of(everything) == 0.5 for _, curves, _ in PANELS for curve in curves)
    assert [title for title, _ in readings([everything], tiny_params)] == [title for title, _, _ in PANELS]
