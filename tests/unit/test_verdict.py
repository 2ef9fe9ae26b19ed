"""What the numbers mean in words: grades and the headline."""

import math

import pytest

from pipelines.artifacts.metrics_json import MetricsReport
from pipelines.diagnosis import verdict
from pipelines.diagnosis.verdict import Verdict
from tests.evaluation_results import evaluation_results, metrics_of, results


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
        (0.0049, 0.001, "good"),  # 1% of the untrained generator's excess over the baseline
        (0.0051, 0.001, "ok"),
        (0.06, 0.0575, "good"),
        (0.0408, 0.001, "ok"),  # 10%
        (0.0411, 0.001, "poor"),
        (0.159, 0.001, "poor"),
        (-0.001, -0.0005, "good"),  # KID is unbiased, so it may fall below zero
    ],
)
def test_a_distance_is_graded_by_its_excess_over_the_baseline(kid: float, floor: float, grade: str) -> None:
    assert grade_of("kid_x", results(kid, floor)) == grade


def test_tiles_with_visible_noise_are_not_good() -> None:
    """Satellite tiles with noise of sigma 8, as measured: KID 0.225, FID 279, and tiles without it FID 101."""
    numbers = evaluation_results(
        {"kid_x": 0.225, "fid_x": 279.0}, floor={"kid_x": 0.001, "fid_x": 101.0},
        untrained={"kid_x": 3.07, "fid_x": 1411.0},
    )  # fmt: skip
    assert [row.grade for row in verdict.verdicts(numbers)] == ["ok", "poor"]


@pytest.mark.parametrize(
    ("kid", "half", "grade"),
    [
        (0.009, 0.01, "good"),  # within two standard errors of the baseline
        (0.015, 0.01, "ok"),
        (0.009, 0.05, None),  # these two errors are more than 10%: too few images to say anything
        (0.3, 0.05, None),
    ],
)
def test_noise_of_few_images_is_no_difference_and_no_proof(kid: float, half: float, grade: str | None) -> None:
    assert grade_of("kid_x", results(kid, intervals={"kid_x": [kid - half, kid + half]})) == grade


def test_a_biased_distance_is_graded_where_the_generator_was_measured_like_the_baseline() -> None:
    numbers = measured("fid_x", 90.0, 80.0, 400.0)
    like = (*numbers.like_floor, *metrics_of({"fid_x": 82.0}))  # with other numbers of images than the 90
    assert grade_of("fid_x", numbers) is None
    assert grade_of("fid_x", numbers.model_copy(update={"like_floor": like})) == "good"
    assert grade_of("kid_x", numbers.model_copy(update={"like_floor": ()})) == "poor"


def test_the_baseline_scatters_and_is_no_bound() -> None:
    numbers = results(0.006)
    kid, *others = numbers.floor
    assert grade_of("kid_x", numbers) == "ok"
    noisy = numbers.model_copy(update={"floor": (kid.model_copy(update={"sd": 0.003}), *others)})
    assert grade_of("kid_x", noisy) == "good"
    assert all(row.is_like_real for row in verdict.verdicts(noisy) if row.metric.kind == "kid")


@pytest.mark.parametrize("values", [(math.nan, 0.001, 0.4), (0.1, math.nan, 0.4), (0.1, 0.001, math.inf)])
def test_what_is_not_finite_has_no_grade(values: tuple[float, float, float]) -> None:
    assert grade_of("kid_x", results(*values)) is None


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
    ("memorized", "grade"), [(0.0, "good"), (0.03, "good"), (0.036, "ok"), (0.06, "poor"), (1.0, "poor")]
)  # of 1000 images, compared with 2000: two standard errors are 0.013 at 0.03
def test_memorisation_is_poor_when_clearly_above_what_real_images_score(memorized: float, grade: str) -> None:
    assert grade_of("memorized_x", measured("memorized_x", memorized, 0.02, 0.0)) == grade
    assert grade_of("memorized_x", measured("memorized_x", memorized, 0.02, None)) == grade
    assert grade_of("memorized_x", measured("memorized_x", memorized, None, 0.0)) is None


@pytest.mark.parametrize(("memorized", "grade"), [(0.0, None), (0.03, None), (0.5, "poor")])
def test_images_that_look_like_nothing_real_are_not_praised_for_copying_nothing(
    memorized: float, grade: str | None
) -> None:
    far = with_one_more(results(precision=0.1), "memorized_x", memorized, 0.02, 0.0)
    assert grade_of("memorized_x", far) == grade


def test_copies_are_judged_by_precision_wherever_it_stands() -> None:
    far = with_one_more(results(precision=0.1), "memorized_x", 0.0, 0.02, 0.0)
    turned = {group: getattr(far, group)[::-1] for group in ("metrics", "floor", "untrained")}
    assert grade_of("memorized_x", far.model_copy(update=turned)) is None


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


NO_CLOSER = "Not yet: its images are no closer to real ones than those of an untrained network."
UNDECIDED = "Undecided: too few images to tell a good generator from a poor one."


def headline(report: MetricsReport) -> str:
    return verdict.headline(verdict.verdicts(report))


@pytest.mark.parametrize(
    ("kid", "precision", "recall", "sentence"),
    [
        (0.16, 0.027, 0.8, "Not yet: 2.7% of its images pass for real; of real images, 80.0% do."),
        (0.02, 0.7, 0.1, "Not yet: it draws 10.0% of the variety of real images; other real images reach 80.0%."),
        (0.16, 0.7, 0.7, "Not yet: its KID is 0.16; real images score 0.001."),
        (0.02, 0.4, 0.7, "Fair: 40.0% of its images pass for real; of real images, 80.0% do."),
        (0.02, 0.7, 0.7, "Fair: its KID is 0.02; real images score 0.001."),
        (0.003, 0.7, 0.7, "Good: 70.0% of its images pass for real; of real images, 80.0% do."),
        (0.001, 0.7, 0.7, "Like real images, as far as so many images tell: 70.0% of its images pass for real; of real "
                          "images, 80.0% do."),
        (-0.002, 0.1, 0.7, "Not yet: 10.0% of its images pass for real; of real images, 80.0% do."),
        (0.4, 0.7, 0.7, NO_CLOSER),
        (0.5, 0.1, 0.1, NO_CLOSER),
        (math.nan, 0.7, 0.7, "Failed: the generated images cannot be measured."),
    ],
)  # fmt: skip
def test_the_headline_says_what_holds_the_generator_back(
    kid: float, precision: float, recall: float, sentence: str
) -> None:
    assert headline(results(kid, precision=precision, recall=recall)) == sentence


@pytest.mark.parametrize(
    ("kid", "sentence"),
    [
        (0.009, "Like real images, as far as so many images tell: its KID is 0.009; real images score 0.001."),
        (0.05, "Not yet: its KID is 0.05; real images score 0.001."),
        (0.392, NO_CLOSER),
    ],
)
def test_the_headline_claims_nothing_within_the_noise(kid: float, sentence: str) -> None:
    report = evaluation_results(
        {"kid_x": kid}, floor={"kid_x": 0.001}, untrained={"kid_x": 0.4},
        intervals={"kid_x": [kid - 0.01, kid + 0.01]},
    )  # fmt: skip
    assert headline(report) == sentence


def test_copies_come_before_any_praise() -> None:
    copying = with_one_more(results(0.001, precision=0.8, recall=0.8), "memorized_x", 0.3, 0.02, 0.0)
    assert headline(copying) == "It copies: 30.0% of its images look like copies of training images."


def test_the_summary_names_untrained_and_baseline() -> None:
    assert verdict.summary(verdict.verdicts(results()), 1000) == (
        "KID 0.1, measured with 1,000 generated images at psi 1; real images against other real images score 0.001 "
        "(the baseline), and the untrained network scores 0.4."
    )


def test_without_kid_the_headline_is_of_fid() -> None:
    numbers = evaluation_results({"fid_x": 1040.0}, floor={"fid_x": 120.0}, untrained={"fid_x": 3200.0})
    assert headline(numbers) == "Not yet: its FID is 1040; real images score 120."


def test_the_summary_compares_a_biased_distance_at_equal_numbers_of_images() -> None:
    numbers = evaluation_results(
        {"fid_x": 278.0}, floor={"fid_x": 90.0}, untrained={"fid_x": 3200.0}, like_floor=metrics_of({"fid_x": 291.0})
    )
    assert verdict.summary(verdict.verdicts(numbers), 1000).startswith(
        "FID 278, measured with 1,000 generated images at psi 1; with as many images as the baseline 291; real images "
        "against other real images score 90 (the baseline),"
    )


def test_precision_without_a_baseline_is_not_compared_with_one() -> None:
    numbers = results(0.001)
    floor = [each for each in numbers.floor if each.kind != "precision"]
    said = headline(numbers.model_copy(update={"floor": floor}))
    assert (
        said == "Like real images, as far as so many images tell: it draws 60.0% of the variety of real images; "
        "other real images reach 80.0%."
    )


def test_a_biased_distance_at_other_numbers_of_images_is_not_graded_though_there_is_a_baseline() -> None:
    numbers = evaluation_results({"fid_x": 278.0}, floor={"fid_x": 90.0}, untrained={"fid_x": 3200.0}, like_floor=())
    assert headline(numbers) == "Not graded: FID is 278, and nothing like it was measured to compare."


def test_kid_is_preferred_to_fid_whatever_their_order() -> None:
    numbers = measured("fid_x", 40.0, 5.0, 300.0)
    turned = {group: getattr(numbers, group)[::-1] for group in ("metrics", "floor", "untrained")}
    assert verdict.summary(verdict.verdicts(numbers.model_copy(update=turned)), 1000).startswith("KID 0.1,")


@pytest.mark.parametrize("kid", [0.0, -0.01, 0.5])
def test_without_a_baseline_nothing_is_graded(kid: float) -> None:
    report = evaluation_results({"kid_x": kid}, floor={}, untrained={"kid_x": 1.0})
    assert headline(report) == f"Not graded: KID is {kid:g}, and nothing says what real images score."
    assert verdict.summary(verdict.verdicts(report), 1000) == (
        f"KID {kid:g}, measured with 1,000 generated images at psi 1; what real images score against other real "
        "images was not measured, and the untrained network scores 1."
    )


@pytest.mark.parametrize("lost", ["metrics", "untrained"])
def test_numbers_without_a_distance_are_refused(lost: str) -> None:
    report = results()
    numbers = report.model_copy(update={lost: [each for each in getattr(report, lost) if each.name != "kid_x"]})
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        verdict.headline(verdict.verdicts(numbers))
    expected = "reports/metrics.json lacks kid_* or fid_*, or its untrained. Run `dvc repro evaluate` again."
    assert str(error.value) == expected


def test_a_verdict_is_a_plain_value() -> None:
    (metric,) = metrics_of({"fid_x": 1.0})
    row = Verdict(metric, "", 1.0, None, 0.0, None, None)
    assert row == Verdict(metric, "", 1.0, None, 0.0, None, None)
    assert row.value == 1


def test_with_too_few_images_the_headline_praises_nobody() -> None:
    report = evaluation_results(
        {"kid_x": 0.5}, floor={"kid_x": 0.01}, untrained={"kid_x": 1.0}, intervals={"kid_x": [0.0, 1.2]}
    )
    assert headline(report) == UNDECIDED


@pytest.mark.parametrize("metric", ["precision_x", "recall_x", "density_x", "coverage_x"])
def test_a_share_of_which_real_images_reach_nothing_is_not_graded(metric: str) -> None:
    assert grade_of(metric, measured(metric, 0.0, 0.0, 0.0)) is None


@pytest.mark.parametrize("confidence", [1e-320, 1 - 1e-16])
def test_intervals_of_a_level_that_no_number_tells_from_0_or_1_are_no_error(confidence: float) -> None:
    report = evaluation_results(
        {"kid_x": 0.5}, floor={"kid_x": 0.1}, untrained={"kid_x": 1.0}, intervals={"kid_x": [0.4, 0.6]}
    )
    verdict.verdicts(report.model_copy(update={"confidence": confidence}))
