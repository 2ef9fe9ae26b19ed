"""The truncation frontier: which psi is recommended, and why."""

import math
from collections.abc import Sequence
from itertools import combinations

import pytest

from pipelines.artifacts.metrics_json import Recommended, Truncation
from pipelines.diagnosis.frontier import Noise, balance, best_of_columns, recommend, table
from tests.evaluation_results import metrics_of, truncation


def recommended(psi: float, sentence: str) -> Recommended:
    return Recommended(psi=psi, sentence=sentence)


def row(psi: float, kid: float, precision: float, recall: float, bounds: tuple[float, float] | None) -> Truncation:
    numbers = {"kid_x": kid, "precision_x": precision, "recall_x": recall}
    return truncation(psi, numbers, {} if bounds is None else {"kid_x": bounds})


def errors(rows: Sequence[Truncation], error: float) -> dict[frozenset[float], float]:
    """One standard error for the difference between each two psi"""
    return {frozenset((a.psi, b.psi)): error for a, b in combinations(rows, 2)}


# As psi falls, precision rises and recall falls (Karras et al. 2019, App. B; Kynkaanniemi et al. 2019), and the
# distance has its lowest value near 1.
CONVENTIONAL = [
    row(0.5, 0.58, 0.36, 0.02, (0.54, 0.62)),
    row(0.7, 0.52, 0.24, 0.06, (0.49, 0.55)),
    row(0.85, 0.48, 0.2, 0.12, (0.45, 0.51)),
    row(1.0, 0.47, 0.1, 0.13, (0.44, 0.5)),
]
NOISE = Noise(errors(CONVENTIONAL, 0.008), errors(CONVENTIONAL, 0.01))


def test_the_best_balance_of_those_that_cannot_be_told_from_the_lowest_is_recommended() -> None:
    assert recommend(CONVENTIONAL, NOISE) == recommended(
        0.85,
        "psi 0.85 is the best trade: its KID 0.48 is statistically indistinguishable from the lowest (0.47 at psi 1), "
        "and precision 0.2 with recall 0.12 are the best balance among the psi values that the distance does not "
        "separate (0.85, 1).",
    )


def test_the_order_of_the_sweep_changes_nothing() -> None:
    assert recommend(CONVENTIONAL[::-1], NOISE) == recommend(CONVENTIONAL, NOISE)
    assert table(CONVENTIONAL[::-1], 0.85) == table(CONVENTIONAL, 0.85)


@pytest.mark.parametrize(("error", "psi"), [(0.004, 1.0), (0.0051, 0.85), (0.054, 0.85), (0.056, 0.5)])
def test_the_noise_of_the_difference_admits_a_psi_and_the_width_of_an_interval_does_not(
    error: float, psi: float
) -> None:
    # Harmonic means by psi: 0.44, 0.096, 0.15, 0.11. Balance is what the noise lets through.
    better = [row(0.5, 0.58, 0.5, 0.4, (0.3, 0.9)), *CONVENTIONAL[1:3], row(1.0, 0.47, 0.1, 0.13, (0.1, 0.9))]
    assert recommend(better, Noise(errors(better, error))).psi == psi


def test_a_balance_that_differs_by_less_than_its_noise_is_a_tie_that_the_higher_psi_wins() -> None:
    # Harmonic means 0.15 and 0.113.
    tie = Noise(NOISE.distance, errors(CONVENTIONAL, 0.02))
    assert recommend(CONVENTIONAL, tie) == recommended(
        1.0,
        "psi 1 is the best trade: its KID 0.47 is the lowest, and of the psi values that the distance does not "
        "separate (0.85, 1) it is the highest whose balance (precision 0.1 with recall 0.13) is statistically "
        "indistinguishable from the best, at psi 0.85.",
    )
    assert recommend(CONVENTIONAL, Noise(NOISE.distance, errors(CONVENTIONAL, 0.018))).psi == 0.85


def test_noise_is_no_reason_to_show_images_without_precision_or_recall() -> None:
    rows = [row(0.7, 0.47, 0.5, 0.4, None), row(1.0, 0.47, 0.6, 0.0, None)]
    assert recommend(rows, Noise(errors(rows, 0.01), errors(rows, 1.0))).psi == 0.7


def test_the_lowest_itself_may_be_the_best_balance() -> None:
    rows = [row(0.7, 0.48, 0.3, 0.1, None), row(1.0, 0.47, 0.2, 0.5, (0.4, 0.5))]
    assert recommend(rows).sentence == (
        "psi 1 is the best trade: its KID 0.47 is the lowest, and precision 0.2 with recall 0.5 are the best balance "
        "among the psi values that the distance does not separate (0.7, 1)."
    )


@pytest.mark.parametrize(("error", "reach"), [(0.01, "the noise"), (None, "5%")])
def test_a_lowest_that_stands_alone_is_recommended_whatever_its_balance(error: float | None, reach: str) -> None:
    rows = [row(0.5, 0.6, 0.9, 0.9, None), row(1.0, 0.47, 0.0, 0.0, (0.1, 0.9))]
    assert recommend(rows, None if error is None else Noise(errors(rows, error))) == recommended(
        1.0, f"psi 1 is the best trade: its KID 0.47 is the lowest, and no other psi comes within {reach} of it."
    )


def test_a_sweep_that_cannot_be_measured_recommends_nothing() -> None:
    rows = [row(psi, math.nan, 0.0, 0.0, None) for psi in (0.5, 1.0)]
    assert recommend(rows) == recommended(1.0, "No psi can be recommended: KID is not a finite number at any.")
    assert recommend([*rows, row(0.7, 0.4, 0.1, 0.1, None)]).psi == 0.7
    assert "kid_x" not in best_of_columns(rows)


def test_without_kid_and_its_interval_a_margin_of_fid_decides() -> None:
    rows = [
        truncation(0.8, {"fid_x": 52.0, "precision_x": 0.8, "recall_x": 0.4}),
        truncation(0.9, {"fid_x": 53.0, "precision_x": 0.8, "recall_x": 0.5}),  # 6 % above
        truncation(1.0, {"fid_x": 50.0, "precision_x": 0.6, "recall_x": 0.4}),
    ]
    assert recommend(rows) == recommended(
        0.8,
        "psi 0.8 is the best trade: its FID 52 is within 5% of the lowest (50 at psi 1), and precision 0.8 with recall "
        "0.4 are the best balance among the psi values that the distance does not separate (0.8, 1).",
    )


def test_one_psi_is_no_choice() -> None:
    assert recommend(CONVENTIONAL[3:]) == recommended(
        1.0, "Only psi 1 was measured (KID 0.47); add more to evaluate.truncation_psi to see the trade."
    )


def test_where_precision_or_recall_is_0_variety_decides() -> None:
    rows = [row(0.8, 0.47, 0.5, 0.0, (0.4, 0.6)), row(1.0, 0.48, 0.0, 0.3, (0.4, 0.6))]
    assert recommend(rows) == recommended(
        1.0,
        "psi 1 is the best trade: its KID 0.48 is within 5% of the lowest (0.47 at psi 0.8), and of the psi values "
        "that the distance does not separate (0.8, 1) the highest has the most variety; precision or recall is 0 "
        "at each.",
    )


def test_where_precision_or_recall_was_not_measured_variety_decides() -> None:
    rows = [truncation(psi, {"kid_x": 0.5, "precision_x": precision}) for psi, precision in ((0.8, 0.5), (1.0, 0.1))]
    assert recommend(rows) == recommended(
        1.0,
        "psi 1 is the best trade: its KID 0.5 is the lowest, and of the psi values that the distance does not "
        "separate (0.8, 1) the highest has the most variety; precision and recall were not both measured.",
    )


def test_equal_balance_goes_to_the_higher_psi() -> None:
    rows = [row(psi, 0.5, 0.4, 0.4, (0.4, 0.6)) for psi in (0.7, 1.0, 0.9)]
    assert recommend(rows).psi == 1.0


@pytest.mark.parametrize("bounds", [None, (-0.003, 0.001)])
def test_a_kid_below_zero_is_a_distance_like_others(bounds: tuple[float, float] | None) -> None:
    rows = [row(0.7, 0.01, 0.9, 0.9, None), row(0.9, -0.00195, 0.8, 0.8, None), row(1.0, -0.002, 0.5, 0.5, bounds)]
    assert recommend(rows).psi == 0.9


def test_a_sweep_without_rows_is_refused() -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        recommend([])
    assert str(error.value) == "the truncation sweep has no rows. evaluate.truncation_psi needs at least psi = 1."


@pytest.mark.parametrize(("precision", "recall", "mean"), [(0.5, 0.5, 0.5), (0.2, 0.6, 0.3), (0, 1, 0), (0, 0, 0)])
def test_balance_is_the_harmonic_mean(precision: float, recall: float, mean: float) -> None:
    assert balance(metrics_of({"precision_x": precision, "pr50k3_full_recall": recall})) == pytest.approx(mean)


def test_the_best_of_a_column_is_lowest_for_distances_and_highest_for_shares() -> None:
    low = truncation(0.5, {"kid_x": 0.2, "recall_x": 0.1, "ppl_y": 3.0, "density_x": 2.0, "memorized_x": 0.5})
    high = truncation(1.0, {"kid_x": 0.1, "recall_x": 0.2, "ppl_y": 4.0, "density_x": 1.0, "memorized_x": 0.5})
    best = {"kid_x": 1.0, "recall_x": 1.0, "density_x": 0.5, "memorized_x": 1.0}  # no path length
    assert best_of_columns([low, high]) == best_of_columns([high, low]) == best


def test_the_table_is_aligned_and_marks_the_best_and_the_recommended() -> None:
    more = metrics_of({"fid_x": 500.0, "density_x": 0.5})
    rows = [Truncation(psi=found.psi, metrics=(*found.metrics, *more)) for found in CONVENTIONAL[2:]]
    assert table(rows, 0.85) == (
        "psi     kid_x               precision_x  recall_x  fid_x\n"
        "0.85 <  0.48 [0.45, 0.51]   0.2 *        0.12      500\n"
        "1       0.47 [0.44, 0.5] *  0.1          0.13 *    500 *\n"
        "* best of its column, < recommended"
    )
