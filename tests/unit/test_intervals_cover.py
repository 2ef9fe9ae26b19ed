"""Confidence intervals hold what they are for as often as they say, in simulations whose truth is known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stylegan.metrics import membership
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.bootstrap import Interval, kernel_interval, sample_interval
from stylegan.metrics.evaluation.ppl import perceptual_path_length
from stylegan.metrics.half_samples import TERMS, half_samples, manifold_intervals

REPEATS = 200
# Of 200 intervals of 95 %, 190 cover on average, and 178 or more but once in 10,000 times. Those of balls that stay
# cover 130 to 175 here, and those of images left out a few at a time nearly all.
ENOUGH = 178


def draw(seed: int, num_real: int = 150, num_gen: int = 120, num_features: int = 64) -> tuple[Tensor, Tensor]:
    """Features of real images, and of a generator whose images are a little off and a little too alike"""
    numbers = torch.Generator().manual_seed(seed)
    real = torch.randn(num_real, num_features, generator=numbers, dtype=torch.float64)
    return real, 0.95 * torch.randn(num_gen, num_features, generator=numbers, dtype=torch.float64) + 0.15


def test_intervals_of_precision_recall_density_and_coverage_cover() -> None:
    found: dict[str, list[Interval]] = {term: [] for term in TERMS}
    for seed in range(REPEATS):
        real, gen = draw(seed)
        for term, interval in manifold_intervals(real, gen, membership(real, gen, 3), 16, seed, 0.95).items():
            found[term].append(interval)
    for term, intervals in found.items():
        truth = np.mean([each.value for each in intervals])  # of an estimate at these numbers of images
        held = sum(each.low <= truth <= each.high for each in intervals)
        assert ENOUGH <= held < REPEATS, term


@pytest.mark.parametrize("spread", [0.5, 1.5])
def test_intervals_of_path_lengths_cover(spread: float) -> None:
    numbers = np.random.default_rng(0)
    intervals = [
        sample_interval(torch.from_numpy(lengths), perceptual_path_length, 100, 0, 0.95)
        for lengths in np.exp(spread * numbers.standard_normal((REPEATS, 300)))
    ]
    truth = np.mean([each.value for each in intervals])
    assert ENOUGH <= sum(each.low <= truth <= each.high for each in intervals) < REPEATS


def test_halves_are_measured_as_sets_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    real, gen = draw(0, 31, 22, 5)
    gen[3] = real[4]  # a copy, at a distance of 0
    monkeypatch.setattr("stylegan.metrics.half_samples.SPARE", 1)  # the k-th of a half is hardly ever among those kept
    for most in (1, 2**20):  # in as many parts as there are resamplings, and in one
        monkeypatch.setattr("stylegan.metrics.half_samples.MOST", most)
        found = half_samples(real, gen, 2, 5, seed=3)
        rng = np.random.default_rng(3)
        in_real, in_gen = ([rng.permutation(np.arange(n) < n // 2) for _ in range(5)] for n in (31, 22))
        for r, (x, y) in enumerate(zip(in_real, in_gen, strict=True)):
            for numbers, half in ((found.first, True), (found.second, False)):
                one = membership(real[x == half], gen[y == half], 2)
                assert numbers[r].tolist() == pytest.approx([getattr(one, term) for term in TERMS], rel=1e-12)


def test_every_number_lies_in_its_interval_and_the_seed_pins_both() -> None:
    real, gen = draw(1)
    found = membership(real, gen, 3)
    intervals = manifold_intervals(real, gen, found, 10, 0, 0.95)
    assert {term: each.value for term, each in intervals.items()} == {term: getattr(found, term) for term in TERMS}
    assert all(0 <= each.low < each.value < each.high for each in intervals.values())
    assert intervals == manifold_intervals(real, gen, found, 10, 0, 0.95)
    assert intervals != manifold_intervals(real, gen, found, 10, 1, 0.95)


def test_a_share_of_no_image_has_an_interval_too() -> None:
    real, _ = draw(2, 100)
    gen = real + 100
    found = manifold_intervals(real, gen, membership(real, gen, 3), 10, 0, 0.95)
    for term in ("precision", "recall", "coverage"):
        assert (found[term].value, found[term].low) == (0, 0)
        assert found[term].high == pytest.approx(0.0370, abs=1e-4)  # z^2 / (100 + z^2) (Wilson 1927)


def test_halves_without_neighbours_are_refused() -> None:
    with pytest.raises(MetricError, match="7 real and 20 generated samples; at least 8 of each are needed"):
        half_samples(*draw(0, 7, 20), k=3, num_resamples=1, seed=0)


def test_a_kernel_interval_is_no_narrower_than_the_truth_asks() -> None:
    found = [kernel_interval(*draw(seed, 60, 60), 50, seed, 0.95) for seed in range(100)]
    truth = np.mean([each.value for each in found])
    assert sum(each.low <= truth <= each.high for each in found) >= 89  # 95 less three standard deviations
