"""Confidence intervals by the percentile bootstrap (Efron and Tibshirani 1993, Ch. 13), with pinned seeds.

Images are resampled with replacement; features, labels and extractor stay. An interval tells how much a number would
move with other images of the same two distributions, and nothing about another training run.
N real, M generated samples, F features, R resamplings.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stylegan.metrics.arrays import Array, MetricError, check_pair
from stylegan.metrics.kid import cubic_kernel
from stylegan.metrics.precision_recall import Membership

BLOCK_ROWS = 1024  # of a kernel matrix, which is never made whole


@dataclass(frozen=True)
class Interval:
    """A number, and the bounds within which level of its resampled values lie."""

    value: float
    low: float
    high: float


def kernel_interval(real: Array, gen: Array, num_resamples: int, seed: int, level: float) -> Interval:
    """Unbiased squared MMD of the whole sets real [N, F] and gen [M, F], which kernel_distance estimates by subsets

    A resampling weighs image i by how often it was drawn; as in Binkowski et al. 2018, Eq. 4, an image is not paired
    with itself, nor with its own repetitions, which would bias every resampled value upward. Costs three kernels of
    whole sets, in blocks of rows.
    """
    x, y = check_pair("kernel_interval", real, gen, min_samples=2)
    rng = _generator(num_resamples, seed, level)
    u, v = _weights(rng, len(x), num_resamples).to(x.device), _weights(rng, len(y), num_resamples).to(y.device)
    within = _pairs(x, x, u, u, same=True) + _pairs(y, y, v, v, same=True)
    values = within - 2 * _pairs(x, y, u, v, same=False)
    return _interval(float(values[0]), values[1:], level)


def membership_intervals(found: Membership, num_resamples: int, seed: int, level: float) -> dict[str, Interval]:
    """Of precision, recall, density and coverage, by name; the balls stay while the images asked about are resampled

    Resampling the balls too would count an image and its repetitions as neighbours and shrink every radius.
    """
    terms = {
        "precision": found.gen_inside.double(),
        "recall": found.real_inside.double(),
        "density": found.gen_balls.double() / found.k,
        "coverage": found.real_covered.double(),
    }
    return {name: mean_interval(values, num_resamples, seed, level) for name, values in terms.items()}


def mean_interval(terms: Tensor, num_resamples: int, seed: int, level: float) -> Interval:
    """Of the mean of terms [N], one for each image"""
    rng, terms = _generator(num_resamples, seed, level), terms.double()
    draws = (torch.from_numpy(rng.integers(len(terms), size=len(terms))).to(terms.device) for _ in range(num_resamples))
    return _interval(float(terms.mean()), torch.stack([terms[rows].mean() for rows in draws]), level)


def _generator(num_resamples: int, seed: int, level: float) -> np.random.Generator:
    if num_resamples < 1 or not 0 < level < 1:
        raise MetricError(
            f"bootstrap: num_resamples={num_resamples} and level={level}; at least 1 resampling and a level between 0 "
            "and 1 are needed, such as 1000 and 0.95."
        )
    return np.random.default_rng(seed)


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
