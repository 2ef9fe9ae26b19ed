"""What the numbers mean in words: grades, headline, readings, advice."""

from collections.abc import Callable
from typing import Any

import pytest

from pipelines import verdict
from pipelines.params import Params
from pipelines.verdict import Advice, Verdict


def results(kid: float = 0.1, floor: float = 0.001, untrained: float = 0.4, **others: float) -> dict[str, Any]:
    precision, recall = others.get("precision", 0.6), others.get("recall", 0.6)
    return {
        "metrics": {"kid_x": kid, "precision_x": precision, "recall_x": recall, "ppl_y": 30.0},
        "floor": {"kid_x": floor, "precision_x": 0.8, "recall_x": 0.8},
        "untrained": {"kid_x": untrained, "precision_x": 0.0, "recall_x": 0.0, "ppl_y": 3.0},
    }


def grade_of(metric: str, numbers: dict[str, Any]) -> str | None:
    return next(row.grade for row in verdict.verdicts(numbers) if row.metric == metric)


@pytest.mark.parametrize(
    ("kid", "floor", "grade"),
    [
        (0.02, 0.001, "good"),  # 5 % of the untrained
        (0.021, 0.001, "ok"),
        (0.06, 0.02, "good"),  # three floors
        (0.061, 0.02, "ok"),
        (0.1, 0.001, "ok"),  # a quarter of the untrained
        (0.11, 0.001, "poor"),
        (-0.001, -0.0005, "good"),  # KID is unbiased, so it may fall below zero
    ],
)
def test_a_distance_is_graded_between_floor_and_untrained(kid: float, floor: float, grade: str) -> None:
    assert grade_of("kid_x", results(kid, floor)) == grade


@pytest.mark.parametrize(
    ("recall", "grade"), [(0.8, "good"), (0.57, "good"), (0.55, "ok"), (0.25, "ok"), (0.23, "poor")]
)
def test_recall_is_graded_as_a_share_of_what_real_images_score(recall: float, grade: str) -> None:
    assert grade_of("recall_x", results(recall=recall)) == grade


def test_a_metric_without_floor_gets_no_grade() -> None:
    assert grade_of("ppl_y", results()) is None


def test_every_metric_keeps_its_name_and_numbers() -> None:
    row = verdict.verdicts(results())[0]
    assert (row.metric, row.kind, row.value, row.floor, row.untrained) == ("kid_x", "kid", 0.1, 0.001, 0.4)


@pytest.mark.parametrize(
    ("kid", "sentence"),
    [
        (0.02, "KID 0.02: 20 times closer to the real images than the untrained network."),
        (0.16, "KID 0.16: 2.5 times closer to the real images than the untrained network."),
        (0.5, "KID 0.5: no closer to the real images than the untrained network."),
        (0.001, "KID 0.001: this measure cannot tell the generated images from real ones."),
        (-0.002, "KID -0.002: this measure cannot tell the generated images from real ones."),
    ],
)
def test_the_headline_says_it_in_one_sentence(kid: float, sentence: str) -> None:
    assert verdict.headline(verdict.verdicts(results(kid))) == sentence


def test_the_yardstick_names_untrained_and_floor() -> None:
    assert verdict.yardstick(verdict.verdicts(results()), 1000) == (
        "The untrained network scores 0.4. Real images against other real images score 0.001, the floor. "
        "Measured with 1000 images."
    )


@pytest.mark.parametrize("lost", ["metrics", "floor", "untrained"])
def test_numbers_without_kid_are_refused(lost: str) -> None:
    numbers = results()
    del numbers[lost]["kid_x"]
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        verdict.headline(verdict.verdicts(numbers))
    assert str(error.value) == (
        "reports/metrics.json lacks kid_* with floor and untrained. Run `dvc repro evaluate` again."
    )


TICKS = [
    {"kimg": 1.0, "loss/G": 1.0, "loss/D": 1.3, "logits/real": 0.5, "logits/gen": -0.5, "augment/p": 0.1,
     "augment/r_t": 0.5, "sec_per_kimg": 3.0},
    {"kimg": 2.0, "loss/G": 1.2, "loss/D": 1.1, "logits/real": 1.0, "logits/gen": -1.0, "augment/p": 0.2,
     "augment/r_t": 0.6, "sec_per_kimg": 1.0},
    {"kimg": 3.0, "loss/G": 1.4, "loss/D": 0.9, "logits/real": 2.0, "logits/gen": -1.0, "augment/p": 0.3,
     "augment/r_t": 0.8, "sec_per_kimg": 2.0},
]  # fmt: skip


def test_each_curve_gets_one_line_from_its_values(make_params: Callable[..., Params]) -> None:
    lines = dict(verdict.readings(TICKS, make_params("augment.ada_target=0.6", "augment.p_max=0.8")))
    assert lines["Losses"].startswith("G 1.40, D 0.90 at the end.")
    assert lines["Scores of D"].startswith("Real minus generated widened from 2.00 to 3.00;")
    assert lines["Augmentation"] == "p ended at 0.30, below its cap of 0.8; it moves so that r_t meets 0.6."
    assert lines["Speed"] == "2.00 s per 1000 images (median)."


@pytest.mark.parametrize(
    ("mode", "line"), [("none", "Augmentation is off (augment.mode: none)."), ("fixed", "Fixed at p = 0.30.")]
)
def test_the_reading_of_p_follows_the_mode(mode: str, line: str, make_params: Callable[..., Params]) -> None:
    assert dict(verdict.readings(TICKS, make_params(f"augment.mode={mode}")))["Augmentation"] == line


def test_curves_that_were_not_logged_are_not_read(tiny_params: Params) -> None:
    titles = [title for title, _ in verdict.readings([{"kimg": 1.0, "loss/r1_penalty": 0.1}], tiny_params)]
    assert titles == ["R1 penalty"]


def advise(
    params: Params,
    numbers: dict[str, Any],
    ticks: verdict.Ticks = TICKS,
    truncation: verdict.Ticks = (),
    count: int = 5000,
) -> list[Advice]:
    return verdict.advice(verdict.verdicts(numbers), truncation, ticks, params, count)


def actions(found: list[Advice]) -> str:
    return " | ".join(item.action for item in found)


GOOD = results(kid=0.001, precision=0.8, recall=0.8)


def test_nothing_is_advised_when_nothing_is_wrong(tiny_params: Params) -> None:
    assert advise(tiny_params, GOOD) == []


def test_a_distance_above_the_floor_asks_for_longer_training(make_params: Callable[..., Params]) -> None:
    (item,) = advise(make_params("train.total_kimg=60"), results(kid=0.05))
    assert item == Advice(
        "Train longer: train.total_kimg from 60 to 120.",
        "KID 0.05 is still far above the floor of 0.001, and D is not overfitting.",
    )


def test_augmentation_at_its_cap_asks_for_data_and_not_for_longer_training(make_params: Callable[..., Params]) -> None:
    (item,) = advise(make_params("augment.p_max=0.3"), results(kid=0.05))
    assert item == Advice(
        "Add training images, or double loss.r1_gamma.",
        "Augmentation reached its cap (augment.p_max = 0.3) and D still tells the training images apart: it is "
        "learning them by heart.",
    )


def test_overfitting_without_augmentation_asks_for_it(make_params: Callable[..., Params]) -> None:
    found = advise(make_params("augment.mode=none", "augment.ada_target=0.6"), GOOD)
    assert found == [Advice("Set augment.mode to ada.", "D is sure of 80% more training images than it doubts (r_t).")]


@pytest.mark.parametrize(("xflip", "mirrors"), [("true", False), ("false", True)])
def test_low_recall_asks_for_variety(make_params: Callable[..., Params], xflip: str, mirrors: bool) -> None:
    (item,) = advise(make_params(f"data.xflip={xflip}"), results(kid=0.001, recall=0.1, precision=0.8))
    assert item.because == "Recall is 0.10 where real images reach 0.80: kinds of pictures are missing."
    assert ("data.xflip: true" in item.action) is mirrors


def test_low_precision_asks_for_truncation_or_capacity(make_params: Callable[..., Params]) -> None:
    params = make_params("render.truncation_psi=0.85")
    (item,) = advise(params, results(kid=0.001, recall=0.8, precision=0.1))
    assert item == Advice(
        "For cleaner pictures, lower render.truncation_psi (now 0.85); for a better generator, give it more capacity "
        "(generator.channel_base).",
        "Precision is 0.10 where real images reach 0.80: many pictures look wrong.",
    )


SWEEP = [{"psi": 0.7, "kid_x": 0.08}, {"psi": 1.0, "kid_x": 0.1}]


def test_a_better_psi_is_advised_unless_it_is_used_or_hardly_better(make_params: Callable[..., Params]) -> None:
    params = make_params("render.truncation_psi=0.85")
    (item,) = advise(params, GOOD, truncation=SWEEP)
    assert item == Advice(
        "Show images at psi = 0.7: set render.truncation_psi.", "kid_x is lowest there: 0.08 against 0.1 at psi = 1."
    )
    assert advise(make_params("render.truncation_psi=0.7"), GOOD, truncation=SWEEP) == []
    assert advise(params, GOOD, truncation=[{"psi": 0.7, "kid_x": 0.095}, SWEEP[1]]) == []


def test_few_images_ask_for_more_before_comparing(tiny_params: Params) -> None:
    (item,) = advise(tiny_params, GOOD, count=1000)
    assert item.action == "Before comparing two good runs, raise evaluate.num_images (now 1000)."


def test_the_most_useful_advice_comes_first(make_params: Callable[..., Params]) -> None:
    found = advise(make_params(), results(kid=0.3, recall=0.1, precision=0.1), count=100)
    order = [text in actions(found) for text in ("Train longer", "more variety", "cleaner", "num_images")]
    assert all(order)
    assert actions(found).index("Train longer") < actions(found).index("variety") < actions(found).index("num_images")


def test_a_verdict_is_a_plain_value() -> None:
    row = Verdict("fid_x", "", 1.0, None, None, None)
    assert row == Verdict("fid_x", "", 1.0, None, None, None)
    assert row.kind == "fid"
