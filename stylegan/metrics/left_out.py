"""The jackknife (Efron and Stein 1981): how far a kernel distance would move with other images, from what it is without
each of these, and whether two distances differ by more than that.

N real, M generated samples, F features.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from stylegan.metrics.arrays import Array, check_pair
from stylegan.metrics.kid import cubic_kernel

BLOCK_ROWS = 1024  # of a kernel matrix, which is never made whole


@dataclass(frozen=True)
class LeftOut:
    """A number of two sets of images, or a difference of such numbers, and what it is without each image."""

    value: float
    without_real: Tensor  # fp64 [N]
    without_gen: Tensor  # fp64 [M]
    share: float = 1.0  # that these sets are of the whole ones, whose standard error is asked for

    def __sub__(self, other: "LeftOut") -> "LeftOut":
        """The difference of numbers that share images: what both owe to an image cancels"""
        real, gen = self.without_real - other.without_real, self.without_gen - other.without_gen
        return LeftOut(self.value - other.value, real, gen, self.share)

    @property
    def standard_error(self) -> float:
        """For drawing both sets again. Never too small on average; of equal distributions it is 1.4 times too large"""
        variance = sum(_variance(values) for values in (self.without_real, self.without_gen))
        return float((self.share * variance) ** 0.5)


def kernel_distance_left_out(real: Array, gen: Array) -> LeftOut:
    """Unbiased squared MMD of the whole sets real [N, F] and gen [M, F], and without each image

    Raises MetricError for features that do not fit together, and for fewer than three samples.
    """
    x, y = check_pair("kernel_distance_left_out", real, gen, min_samples=3)
    (x_rows, _), (y_rows, _) = _sums(x, x, same=True), _sums(y, y, same=True)
    across, down = _sums(x, y, same=False)
    n, m, total = len(x), len(y), across.sum()
    within_x, within_y = x_rows.sum() / (n * (n - 1)), y_rows.sum() / (m * (m - 1))
    value = within_x + within_y - 2 * total / (n * m)
    x_left = (x_rows.sum() - 2 * x_rows) / ((n - 1) * (n - 2))
    y_left = (y_rows.sum() - 2 * y_rows) / ((m - 1) * (m - 2))
    without_real = x_left + within_y - 2 * (total - across) / ((n - 1) * m)
    without_gen = within_x + y_left - 2 * (total - down) / (n * (m - 1))
    return LeftOut(float(value), without_real.cpu(), without_gen.cpu())


def _variance(values: Tensor) -> float:
    """Of a number, from its n values without each of n images"""
    return float((len(values) - 1) * values.var(correction=0))


def _sums(x: Tensor, y: Tensor, *, same: bool) -> tuple[Tensor, Tensor]:
    """Sums over each row [N] and each column [M] of the kernel of x [N, F] and y [M, F]

    same: x and y are one set, whose pairs of an image with itself are left out.
    """
    rows, columns = [], x.new_zeros(len(y))
    for start in range(0, len(x), BLOCK_ROWS):
        kernel = cubic_kernel(x[start : start + BLOCK_ROWS], y)
        if same:
            kernel.diagonal(start).zero_()
        rows.append(kernel.sum(dim=1))
        columns += kernel.sum(dim=0)
    return torch.cat(rows), columns
