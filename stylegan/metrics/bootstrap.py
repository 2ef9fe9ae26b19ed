"""Confidence intervals by the percentile bootstrap (Efron and Tibshirani 1993, Ch. 13), with pinned seeds.

Of KID, whose real and generated images are both resampled with replacement, and of means over generated images or
paths. Features, labels and extractor stay. An interval tells how much a number would move with other images of the same
two distributions, and nothing about another training run. Numbers of neighbours have half_samples.py.
N real, M generated samples, F features, R resamplings.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stylegan.metrics.arrays import Array, MetricError, check_pair
from stylegan.metrics.kid import cubic_kernel

BLOCK_ROWS = 1024  # of a kernel matrix, which is never made whole


@dataclass(frozen=True)
class Interval:
    """A number, and the bounds within which level of its resampled values lie."""

    value: float
    low: float
    high: float

    def around(self, value: float, narrower: float) -> "Interval":
        """The same for another estimate of the same number, its width multiplied"""
        low, high = (value + narrower * (end - self.value) for end in (self.low, self.high))
        return Interval(value, low, high)


def kernel_interval(real: Array, gen: Array, num_resamples: int, seed: int, level: float) -> Interval:
    """Unbiased squared MMD of the whole sets real [N, F] and gen [M, F], which kernel_distance estimates by subsets

    A resampling weighs image i by how often it was drawn; as in Binkowski et al. 2018, Eq. 4, an image is not paired
    with itself, nor with its own repetitions, which would bias every resampled value upward. Costs three kernels of
    whole sets, in blocks of rows.
    """
    x, y = check_pair("kernel_interval", real, gen, min_samples=2)
    check_resampling(num_resamples, level)
    rng = np.random.default_rng(seed)
    u, v = _weights(rng, len(x), num_resamples).to(x.device), _weights(rng, len(y), num_resamples).to(y.device)
    within = _pairs(x, x, u, u, same=True) + _pairs(y, y, v, v, same=True)
    values = within - 2 * _pairs(x, y, u, v, same=False)
    return _interval(float(values[0]), values[1:], level)


def sample_interval(
    terms: Tensor, statistic: Callable[[Tensor], Tensor], num_resamples: int, seed: int, level: float
) -> Interval:
    """Of a statistic [..., N] -> [...] of terms [N], one for each image or path, which are resampled"""
    check_resampling(num_resamples, level)
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(rng.integers(len(terms), size=(num_resamples, len(terms)))).to(terms.device)
    return _interval(float(statistic(terms.double())), statistic(terms.double()[rows]), level)


def check_resampling(num_resamples: int, level: float) -> None:
    """Raise MetricError for what cannot be resampled."""
    if num_resamples < 1 or not 0 < level < 1:
        raise MetricError(
            f"bootstrap: num_resamples={num_resamples} and level={level}; at least 1 resampling and a level between 0 "
            "and 1 are needed, such as 1000 and 0.95."
        )


def _interval(value: float, values: Tensor, level: float) -> Interval:
    low, high = torch.quantile(values, values.new_tensor([(1 - level) / 2, (1 + level) / 2])).tolist()
    return Interval(value, low, high)


def _weights(rng: np.random.Generator, count: int, num_resamples: int) -> Tensor:
    """How often each sample is drawn, [R + 1, N]; the first row is the sample itself, once each"""
    draws = [np.bincount(rng.integers(count, size=count), minlength=count) for _ in range(num_resamples)]
    return torch.from_numpy(np.stack([np.ones(count), *draws]))


def _pairs(x: Tensor, y: Tensor, u: Tensor, v: Tensor, *, same: bool) -> Tensor:
    """Mean kernel over pairs of x [N, F] and y [M, F], weighted by u [R, N] and v [R, M]  ->  [R]

    same: x and y are one set, whose pairs of an image with itself are left out.
    """
    total = x.new_zeros(len(u))
    for start in range(0, len(x), BLOCK_ROWS):
        kernel = cubic_kernel(x[start : start + BLOCK_ROWS], y)
        if same:
            kernel.diagonal(start).zero_()
        total += ((kernel @ v.T).T * u[:, start : start + BLOCK_ROWS]).sum(dim=1)
    count = u.sum(dim=1) * v.sum(dim=1) - ((u * v).sum(dim=1) if same else 0)
    return total / count
