"""Errors of more images than MOST_FOR_ERRORS come from a part of them, and are those of the whole."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipelines.params import Params
from stylegan.metrics.evaluation import comparison
from stylegan.metrics.evaluation.comparison import Comparison, Measured, summarise
from stylegan.metrics.evaluation.names import metric_names
from stylegan.metrics.extractors import load_extractor
from stylegan.metrics.half_samples import TERMS


def draw(count: int, seed: int) -> Tensor:
    return torch.randn(count, 64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def measure(make_params: Callable[..., Params]) -> Callable[[int, int, int], Measured]:
    """measure(real, generated, seed) -> numbers of so many images"""
    config = make_params(
        "evaluate.metrics=[kid, pr]", "evaluate.pr_neighbors=3", "evaluate.num_images=800",
        "evaluate.bootstrap_num_resamples=40", "evaluate.kid_num_subsets=10", "evaluate.kid_subset_size=100",
    ).evaluate  # fmt: skip
    extractor = load_extractor("random", 16, Path())
    names = metric_names(config, "random", whole_set=0)

    def run(num_real: int, num_gen: int, seed: int) -> Measured:
        real, gen = summarise(draw(num_real, 2 * seed)), summarise(draw(num_gen, 2 * seed + 1) + 0.15)
        return Comparison(config, names, extractor, real, gen, bootstrap=True).measure()

    return run


@pytest.mark.parametrize(("num_real", "num_gen"), [(1000, 1000), (1000, 400)])
def test_errors_from_a_part_are_those_of_the_whole(
    num_real: int, num_gen: int, measure: Callable[[int, int, int], Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [measure(num_real, num_gen, seed) for seed in range(8)]
    monkeypatch.setattr(comparison, "MOST_FOR_ERRORS", 400)
    monkeypatch.setattr(comparison, "LEAST_FOR_ERRORS", 10)
    part = [measure(num_real, num_gen, seed) for seed in range(8)]
    assert [found.numbers for found in part] == [found.numbers for found in whole]  # only errors are of a part
    left, halves = ([getattr(each, name) for each in (*part, *whole)] for name in ("kid_left_out", "halves"))
    assert {len(each.without_real) for each in left[:8]} == {400}
    assert {len(each.without_gen) for each in left[:8]} == {0.4 * num_gen}
    ratios = [ratio([each.standard_error for each in left])]
    ratios += [ratio([float(each.variance[term]) for each in halves]) ** 0.5 for term in range(len(TERMS))]
    for name in ("kid_random", "precision_random", "recall_random"):
        ratios.append(ratio([each.intervals[name].high - each.intervals[name].low for each in (*part, *whole)]))
    # Of nearly equal distributions KID varies with 1 / n, so errors from a part are too large there, never too small.
    assert 0.75 < min(ratios) < max(ratios) < 1.35, ratios


def ratio(values: Sequence[float]) -> float:
    """The mean of the first half to that of the second"""
    return sum(values[:8]) / sum(values[8:])


def test_a_small_set_next_to_a_large_one_stays_whole(
    measure: Callable[[int, int, int], Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "MOST_FOR_ERRORS", 400)
    found = measure(2000, 20, 0)
    assert found.failures == []
    assert found.kid_left_out is not None
    assert (len(found.kid_left_out.without_gen), found.kid_left_out.share) == (20, 1.0)


def test_a_part_with_too_few_neighbours_costs_errors_and_no_number(
    measure: Callable[[int, int, int], Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "MOST_FOR_ERRORS", 20)
    monkeypatch.setattr(comparison, "LEAST_FOR_ERRORS", 6)
    found = measure(200, 60, 0)
    assert found.failures == []
    assert found.halves is None
    assert "precision_random" in found.numbers
