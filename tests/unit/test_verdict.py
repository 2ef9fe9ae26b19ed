"""What the numbers mean in words: grades, headline, advice."""

from collections.abc import Callable
from typing import Any

import pytest

from pipelines.artifacts.metrics_json import MetricsReport
from pipelines.diagnosis import verdict
from pipelines.diagnosis.verdict import Advice, Verdict
from pipelines.params import Params
from tests.evaluation_results import evaluation_results, metrics_of, truncation
from tests.tick_rows import ticks


def results(kid: float = 0.1, floor: float = 0.001, untrained: float = 0.4, **others: Any) -> MetricsReport:
    precision, recall = others.pop("precision", 0.6), others.pop("recall", 0.6)
    return evaluation_results(
        {"kid_x": kid, "precision_x": precision, "recall_x": recall, "ppl_y": 30.0},
        floor={"kid_x": floor, "precision_x": 0.8, "recall_x": 0.8},
        untrained={"kid_x": untrained, "precision_x": 0.0, "recall_x": 0.0, "ppl_y": 3.0},
        **others,
    )


def measured(metric: str, value: float, floor: float | None, untrained: float | None) -> MetricsReport:
    """Results with one metric more"""
    return with_one_more(results(), metric, value, floor, untrained)


def with_one_more(
    report: MetricsReport, metric: str, value: float, floor: float | None, untrained: float | None
) -> MetricsReport:
    more = {
        group: (*getattr(report, group), *metrics_of({} if number is None else {metric: number}))
        for group, number in (("metrics", value), ("floor", floor), ("untrained", untrained))
    }
    return report.model_copy(update=more)


def grade_of(metric: str, report: MetricsReport) -> str | None:
    return next(row.grade for row in verdict.verdicts(report) if row.metric.name == metric)


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


@pytest.mark.parametrize(("coverage", "grade"), [(1.0, "good"), (0.63, "good"), (0.62, "ok"), (0.26, "poor")])
def test_coverage_is_graded_as_a_share_of_what_real_images_score(coverage: float, grade: str) -> None:
    assert grade_of("coverage_x", measured("coverage_x", coverage, 0.9, 0.0)) == grade


@pytest.mark.parametrize(
    ("density", "grade"), [(0.2, "poor"), (0.4, "ok"), (0.7, "good"), (1.0, "good"), (1.42, "good"), (1.5, "ok")]
)
def test_density_beyond_that_of_real_images_is_not_good(density: float, grade: str) -> None:
    """Pictures that bunch together in the commonest places exceed real ones, at the price of variety."""
    assert grade_of("density_x", measured("density_x", density, 1.0, 0.0)) == grade


@pytest.mark.parametrize(("score", "grade"), [(9.0, "good"), (4.1, "ok"), (3.5, "poor"), (1.5, "poor")])
def test_the_inception_score_counts_from_its_lowest(score: float, grade: str) -> None:
    assert grade_of("is_inception", measured("is_inception", score, 11.0, 1.2)) == grade


@pytest.mark.parametrize(
    ("memorized", "grade"), [(0.0, "good"), (0.55, "good"), (0.64, "good"), (0.7, "ok"), (0.76, "poor"), (1.0, "poor")]
)
def test_memorisation_is_poor_when_clearly_above_what_held_out_images_score(memorized: float, grade: str) -> None:
    assert grade_of("memorized_x", measured("memorized_x", memorized, 0.55, 0.01)) == grade
    assert grade_of("memorized_x", measured("memorized_x", memorized, 0.55, None)) == grade
    assert grade_of("memorized_x", measured("memorized_x", memorized, None, 0.01)) is None


@pytest.mark.parametrize(("value", "grade"), [(14.0, "good"), (40.0, "ok"), (90.0, "poor")])
def test_extrapolated_fid_is_graded_as_a_distance(value: float, grade: str) -> None:
    assert grade_of("fid_infinity_x", measured("fid_infinity_x", value, 1.0, 300.0)) == grade


def test_every_kind_of_metric_says_what_it_means() -> None:
    names = ("kid_x", "fid_x", "fid50k_full", "frechet_random", "precision_x", "pr50k3_full_recall", "density_x",
             "coverage_x", "memorized_x", "is50k", "fid_infinity_x", "ppl2_wend")  # fmt: skip
    judged = verdict.verdicts(evaluation_results(dict.fromkeys(names, 1.0), floor={}, untrained={}))
    assert all(row.meaning for row in judged)
    assert len({row.meaning for row in judged}) == len(names) - 1  # both FIDs mean the same


def test_every_metric_keeps_its_name_and_numbers() -> None:
    row, other = verdict.verdicts(results(intervals={"kid_x": [0.08, 0.13]}))[:2]
    assert (row.metric.name, row.metric.kind, row.value, row.floor, row.untrained) == ("kid_x", "kid", 0.1, 0.001, 0.4)
    assert (row.metric.interval, other.metric.interval) == ((0.08, 0.13), None)


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


def test_without_kid_the_headline_is_of_fid() -> None:
    numbers = evaluation_results({"fid_x": 1040.0}, floor={"fid_x": 120.0}, untrained={"fid_x": 3200.0})
    judged = verdict.verdicts(numbers)
    assert verdict.headline(judged) == "FID 1040: 3.1 times closer to the real images than the untrained network."
    assert verdict.yardstick(judged, 1000) == (
        "The untrained network scores 3200. Real images against other real images score 120, the floor. "
        "Measured with 1000 images."
    )


def test_kid_is_preferred_to_fid_whatever_their_order() -> None:
    numbers = measured("fid_x", 40.0, 5.0, 300.0)
    turned = {group: getattr(numbers, group)[::-1] for group in ("metrics", "floor", "untrained")}
    numbers = numbers.model_copy(update=turned)
    assert verdict.headline(verdict.verdicts(numbers)).startswith("KID 0.1: 4.0 times closer")


def test_fid_alone_has_no_floor_and_still_a_headline() -> None:
    judged = verdict.verdicts(evaluation_results({"fid_x": 40.0}, floor={}, untrained={"fid_x": 300.0}))
    assert verdict.headline(judged) == "FID 40: 7.5 times closer to the real images than the untrained network."
    assert verdict.yardstick(judged, 1000) == (
        "The untrained network scores 300. The floor, what real images score against other real images, was not "
        "measured. Measured with 1000 images."
    )


@pytest.mark.parametrize("lost", ["metrics", "untrained"])
def test_numbers_without_a_distance_are_refused(lost: str) -> None:
    report = results()
    numbers = report.model_copy(update={lost: [each for each in getattr(report, lost) if each.name != "kid_x"]})
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        verdict.headline(verdict.verdicts(numbers))
    expected = "reports/metrics.json lacks kid_* or fid_*, or its untrained. Run `dvc repro evaluate` again."
    assert str(error.value) == expected


TICKS = ticks([{"kimg": 3.0, "augment/p": 0.3, "augment/r_t": 0.8}])


def advise(params: Params, report: MetricsReport, count: int = 5000) -> list[Advice]:
    report = report.model_copy(update={"num_images": count})
    return verdict.advice(verdict.verdicts(report), report, TICKS, params)


def actions(found: list[Advice]) -> str:
    return " | ".join(item.action for item in found)


GOOD = results(kid=0.001, precision=0.8, recall=0.8)


def test_nothing_is_advised_when_nothing_is_wrong(tiny_params: Params) -> None:
    assert advise(tiny_params, GOOD) == []


def test_a_distance_above_the_floor_asks_for_longer_training(make_params: Callable[..., Params]) -> None:
    (item,) = advise(make_params("train.total_kimg=60"), results(kid=0.05))
    assert item == Advice(
        "Train longer: train.total_kimg from 60 to 120. The run continues from its end.",
        "KID 0.05 is still far above the floor of 0.001, and D is not overfitting.",
    )


def test_augmentation_at_its_cap_asks_for_data_and_not_for_longer_training(make_params: Callable[..., Params]) -> None:
    (item,) = advise(make_params("augment.p_max=0.3"), results(kid=0.05))
    assert item == Advice(
        "Add training images, or raise loss.r1_gamma from 0.01 to 0.04.",
        "Augmentation reached its cap (augment.p_max = 0.3) and D still tells the training images apart: it is "
        "learning them by heart.",
    )


def test_overfitting_without_augmentation_asks_for_it(make_params: Callable[..., Params]) -> None:
    found = advise(make_params("augment.mode=none", "augment.ada_target=0.6"), GOOD)
    assert found == [Advice("Set augment.mode to ada.", "D is sure of 80% more training images than it doubts (r_t).")]
    assert advise(make_params("augment.mode=diffaugment", "augment.ada_target=0.6"), GOOD) == found
    assert advise(make_params("augment.mode=none", "augment.ada_target=0.6", "loss.adversarial=wgan_gp"), GOOD) == []


@pytest.mark.parametrize(("xflip", "mirrors"), [("true", False), ("false", True)])
def test_low_recall_asks_for_variety(make_params: Callable[..., Params], xflip: str, mirrors: bool) -> None:
    (item,) = advise(make_params(f"data.xflip={xflip}"), results(kid=0.001, recall=0.1, precision=0.8))
    assert item.because == "Recall is 0.10 where real images reach 0.80: kinds of pictures are missing."
    assert ("data.xflip: true" in item.action) is mirrors


def test_low_precision_asks_for_capacity(tiny_params: Params) -> None:
    (item,) = advise(tiny_params, results(kid=0.001, recall=0.8, precision=0.1))
    assert item == Advice(
        "For cleaner pictures, give the generator more capacity (generator.channel_base); a lower psi cleans them at "
        "the price of variety.",
        "Precision is 0.10 where real images reach 0.80: many pictures look wrong.",
    )


def test_the_recommended_psi_is_advised_unless_it_is_used_or_there_was_no_choice(
    make_params: Callable[..., Params],
) -> None:
    sweep = [
        truncation(0.7, {"kid_x": 0.001, "precision_x": 0.8, "recall_x": 0.8}),
        truncation(1.0, {"kid_x": 0.001, "precision_x": 0.7, "recall_x": 0.8}),
    ]
    numbers = results(kid=0.001, precision=0.8, recall=0.8, sweep=sweep)
    params = make_params("render.truncation_psi=0.85")
    (item,) = advise(params, numbers)
    assert item.action == "Show images at psi = 0.7: set render.truncation_psi (now 0.85)."
    assert item.because == numbers.recommended.sentence
    assert item.because.startswith("psi 0.7 is the best trade: its KID 0.001")
    assert advise(make_params("render.truncation_psi=0.7"), numbers) == []
    assert advise(params, results(kid=0.001, precision=0.8, recall=0.8)) == []


def with_copies(memorized: float, held_out: float | None) -> MetricsReport:
    return with_one_more(results(kid=0.001, precision=0.8, recall=0.8), "memorized_x", memorized, held_out, None)


@pytest.mark.parametrize(
    ("held_out", "measured_with"),
    [(0.55, "held-out real images score 55%"), (None, "fresh images of the same kind would score 67% at most")],
)
def test_copies_of_training_images_ask_for_more_of_them(
    tiny_params: Params, held_out: float | None, measured_with: str
) -> None:
    (item,) = advise(tiny_params, with_copies(0.8, held_out))
    assert item == Advice(
        "Look at the nearest training images below; then add training images, lower augment.ada_target, or stop "
        "earlier (train.total_kimg).",
        "80% of the generated images are nearer to a training image than any other training image is, and "
        f"{measured_with}: training images are being repeated.",
    )


@pytest.mark.parametrize(("memorized", "held_out"), [(0.7, 0.55), (0.66, None), (0.0, 0.55)])
def test_no_more_copies_than_chance_explains_ask_for_nothing(
    tiny_params: Params, memorized: float, held_out: float | None
) -> None:
    assert advise(tiny_params, with_copies(memorized, held_out)) == []


def test_few_images_ask_for_more_before_comparing(tiny_params: Params) -> None:
    (item,) = advise(tiny_params, GOOD, count=1000)
    assert item.action == "Before comparing two good runs, raise evaluate.num_images (now 1000)."


def test_the_most_useful_advice_comes_first(make_params: Callable[..., Params]) -> None:
    found = advise(make_params(), results(kid=0.3, recall=0.1, precision=0.1), count=100)
    order = [text in actions(found) for text in ("Train longer", "more variety", "cleaner", "num_images")]
    assert all(order)
    assert actions(found).index("Train longer") < actions(found).index("variety") < actions(found).index("num_images")


def test_a_verdict_is_a_plain_value() -> None:
    (metric,) = metrics_of({"fid_x": 1.0})
    row = Verdict(metric, "", None, None, None)
    assert row == Verdict(metric, "", None, None, None)
    assert row.value == 1
