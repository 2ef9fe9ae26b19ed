"""Bootstrap intervals against resampled sets written as loops, and their coverage of a known value."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from stylegan.metrics.arrays import MetricError
from stylegan.metrics.bootstrap import kernel_interval, sample_interval
from stylegan.metrics.kid import kernel_distance

Array = npt.NDArray[np.float64]


def sets(num_real: int = 12, num_gen: int = 9) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((num_real, 5)), rng.standard_normal((num_gen, 5)) * 1.5 + 0.3


def mean(terms: torch.Tensor) -> torch.Tensor:
    return terms.mean(dim=-1)


def pairs(x: Array, y: Array, u: Array, v: Array, same: bool) -> float:
    """Mean kernel over all drawn pairs but those of an image with itself, one by one"""
    kernels = [(x[i] @ y[j] / x.shape[1] + 1) ** 3 for i in u for j in v if not (same and i == j)]
    return float(np.mean(kernels))


def test_resampled_kernel_distances_are_those_of_loops() -> None:
    x, y = sets()
    rng = np.random.default_rng(3)
    u, v = [rng.integers(12, size=12) for _ in range(40)], [rng.integers(9, size=9) for _ in range(40)]
    values = [
        pairs(x, x, i, i, True) + pairs(y, y, j, j, True) - 2 * pairs(x, y, i, j, False)
        for i, j in zip(u, v, strict=True)
    ]
    found = kernel_interval(x, y, num_resamples=40, seed=3, level=0.9)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.05, 0.95])), rel=1e-10)  # fp64


def test_kernel_distance_of_whole_sets_is_the_one_of_a_whole_subset() -> None:
    x, y = sets(12, 12)
    found = kernel_interval(x, y, num_resamples=1, seed=0, level=0.9)
    assert found.value == pytest.approx(kernel_distance(x, y, num_subsets=1, subset_size=12), rel=1e-10)  # fp64


def test_blocks_do_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = sets()
    whole = kernel_interval(x, y, 20, 0, 0.9)
    monkeypatch.setattr("stylegan.metrics.bootstrap.BLOCK_ROWS", 5)
    blocks = kernel_interval(x, y, 20, 0, 0.9)
    assert (blocks.value, blocks.low, blocks.high) == pytest.approx((whole.value, whole.low, whole.high), rel=1e-10)


def test_kernel_intervals_hold_the_true_distance_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    # E (x.y + 1)^3 = 1 + 3 E x E y + 3 E x^2 E y^2 + E x^3 E y^3 for independent scalars; moments of N(1, 1): 1, 2, 4.
    truth = (1 + 3) + (1 + 3 + 12 + 16) - 2 * (1 + 3 * 2)
    found = [
        kernel_interval(rng.standard_normal((80, 1)), rng.standard_normal((80, 1)) + 1, 100, 0, 0.9) for _ in range(60)
    ]
    held = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.75 <= held <= 1  # 0.9 within four standard deviations of 60 draws


def test_interval_of_a_share_is_that_of_the_binomial() -> None:
    terms = (torch.arange(400) < 100).double()
    found = sample_interval(terms, mean, num_resamples=2000, seed=0, level=0.95)
    assert found.value == 0.25
    assert (found.low, found.high) == pytest.approx((0.25 - 0.0424, 0.25 + 0.0424), abs=0.006)  # 1.96 sqrt(p q / N)


def test_impossible_levels_are_refused() -> None:
    with pytest.raises(MetricError) as caught:
        sample_interval(torch.ones(3), mean, num_resamples=10, seed=0, level=95)
    assert str(caught.value) == (
        "bootstrap: num_resamples=10 and level=95; at least 1 resampling and a level between 0 and 1 are needed, such "
        "as 1000 and 0.95."
    )
