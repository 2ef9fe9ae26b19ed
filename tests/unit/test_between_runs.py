"""Differences between configurations are claimed where they exceed the spread between runs, and not otherwise."""

import math

import numpy as np
import pytest
from scipy import stats

from pipelines.diagnosis.between_runs import LEVEL, difference, level_for, over_runs, verdict_of
from tests.evaluation_results import metrics_of


def test_the_interval_is_welch_s() -> None:
    ones, others = [0.41, 0.36, 0.52, 0.44], [0.61, 0.58, 0.66]
    found = difference(ones, others)
    wanted = stats.ttest_ind(ones, others, equal_var=False).confidence_interval(LEVEL)
    assert found.interval == pytest.approx((wanted.low, wanted.high))
    assert verdict_of(found) == "better"
    assert verdict_of(difference(others, ones)) == "worse"


@pytest.mark.parametrize("ones", [[0.4], [math.nan, 0.4], [0.4, 0.4]])
def test_one_run_or_runs_without_a_spread_or_a_number_claim_nothing(ones: list[float]) -> None:
    found = difference(ones, [0.9, 0.9])
    assert found.interval is None
    assert verdict_of(found) is None


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
@pytest.mark.parametrize("ratio", [1.0, 3.0], ids=["equal spread", "three times the spread"])
def test_of_equal_rows_at_most_about_one_in_twenty_is_called_different(num_seeds: int, ratio: float) -> None:
    """With the spread of the default run at 160 kimg, .25 to .50; what images add to it is the same for both."""
    draw, trials = np.random.default_rng(0), 2000
    base = 0.37 + 0.08 * draw.standard_normal((trials, num_seeds))
    other = 0.37 + 0.08 * ratio * draw.standard_normal((trials, num_seeds))
    claimed = sum(difference(ones, others).is_claimed for ones, others in zip(other, base, strict=True))
    assert claimed / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


def test_intervals_of_single_runs_that_do_not_overlap_would_call_equal_rows_different() -> None:
    """What stood in the tables before: intervals of a run's images, a fifth as wide as the spread between runs."""
    draw = np.random.default_rng(0)
    one, other = 0.37 + 0.08 * draw.standard_normal((2, 2000))
    assert np.mean(np.abs(one - other) > 2 * 0.0165) > 0.5


def test_a_difference_of_three_spreads_is_found_by_five_seeds() -> None:
    draw = np.random.default_rng(0)
    rows = zip(0.37 + 0.08 * draw.standard_normal((500, 5)), 0.61 + 0.08 * draw.standard_normal((500, 5)), strict=True)
    assert np.mean([difference(ones, others).is_claimed for ones, others in rows]) > 0.95


@pytest.mark.parametrize("num_trials", [3, 8])
def test_the_lowest_of_equal_trials_is_set_apart_from_another_in_one_sweep_of_twenty_at_most(num_trials: int) -> None:
    draw, sweeps = np.random.default_rng(0), 1000
    claimed = 0
    for values in 0.37 + 0.08 * draw.standard_normal((sweeps, num_trials, 4)):
        lowest = values[values.mean(axis=1).argmin()]
        level = level_for(math.comb(num_trials, 2))
        found = (difference(other, lowest, level) for other in values if other is not lowest)
        claimed += any(each.is_claimed for each in found)
    assert claimed / sweeps <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / sweeps)


@pytest.mark.parametrize("num_rows", [3, 8])
def test_of_a_ladder_of_equal_rows_one_in_twenty_at_most_claims_any_difference(num_rows: int) -> None:
    """Each row is compared with the one before it, or each with the first, which shares its luck with all."""
    draw, ladders, level = np.random.default_rng(0), 1000, level_for(num_rows - 1)
    for against in ("the row before", "the first row"):
        claimed = 0
        for values in 0.37 + 0.08 * draw.standard_normal((ladders, num_rows, 3)):
            others = values[:-1] if against == "the row before" else [values[0]] * (num_rows - 1)
            found = (difference(one, other, level) for one, other in zip(values[1:], others, strict=True))
            claimed += any(each.is_claimed for each in found)
        assert claimed / ladders <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / ladders), against


def test_means_and_deviations_are_those_of_the_numbers_that_all_runs_have() -> None:
    runs = [metrics_of({"kid_x": 0.4, "fid_x": 1.0}, {"kid_x": [0.3, 0.5]}), metrics_of({"kid_x": 0.6})]
    (kid,) = over_runs(runs)
    assert (kid.value, kid.sd, kid.interval) == (0.5, pytest.approx(math.sqrt(0.02), abs=1e-6), None)
    assert over_runs(runs[:1]) == runs[0]
