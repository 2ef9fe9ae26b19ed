"""Kernel distance: unbiased MMD^2 with a cubic kernel (Binkowski et al. 2018), the headline for small datasets.

N real, M generated samples, F features, S subsets of m.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stylegan.metrics.arrays import Array, MetricError, check_pair


def kernel_distance(real: Array, gen: Array, num_subsets: int = 100, subset_size: int = 1000, seed: int = 0) -> float:
    """KID: mean over random subsets of the unbiased squared MMD between features real [N, F] and gen [M, F].

    The defaults are the published protocol's (kid50k_full); see kernel_distances.
    """
    return float(kernel_distances(real, gen, num_subsets, subset_size, seed).mean())


def kernel_distances(real: Array, gen: Array, num_subsets: int, subset_size: int, seed: int) -> Tensor:
    """Unbiased squared MMD of each random subset (Binkowski et al. 2018, Eq. 4)  ->  fp64 [S]

    A subset has m = min(subset_size, N, M) of each side, drawn without replacement. Unbiased, so the distance between
    samples of one distribution scatters around 0 and may be negative.
    Raises MetricError for features that do not fit together, and for fewer than two samples.
    """
    x, y = check_pair("kernel_distance", real, gen, min_samples=2)
    m = min(subset_size, len(x), len(y))
    if m < 2 or num_subsets < 1:
        raise MetricError(
            f"kernel_distance: num_subsets={num_subsets} and subset_size={subset_size}; at least 1 subset of 2 samples "
            "is needed. Raise evaluate.kid_num_subsets or evaluate.kid_subset_size."
        )
    rng = np.random.default_rng(seed)
    rows = [(_choose(rng, len(x), m), _choose(rng, len(y), m)) for _ in range(num_subsets)]
    # Of a small set subsets overlap so much that one whole kernel matrix costs less than the sum of theirs.
    if (len(x) + len(y)) ** 2 <= num_subsets * (2 * m) ** 2:
        u, v = (_members([pair[side] for pair in rows], z) for side, z in ((0, x), (1, y)))
        within = _within(cubic_kernel(x, x), u) + _within(cubic_kernel(y, y), v)
        return within / (m * (m - 1)) - 2 * ((u @ cubic_kernel(x, y)) * v).sum(dim=1) / m**2
    return torch.stack(
        [_mmd2(cubic_kernel(x[i], x[i]), cubic_kernel(y[j], y[j]), cubic_kernel(x[i], y[j])) for i, j in rows]
    )


def cubic_kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x.y / F + 1)^3 (Binkowski et al. 2018, Sec. 4.2)  [N, F], [M, F] -> [N, M]"""
    base = (x @ y.T).div_(x.shape[1]).add_(1)
    return base.square().mul_(base)


def _choose(rng: np.random.Generator, n: int, m: int) -> Tensor:
    return torch.from_numpy(rng.choice(n, m, replace=False))


def _members(subsets: Sequence[Tensor], x: Tensor) -> Tensor:
    """Whether each sample of x [N, F] is in each subset, as a factor  ->  [S, N]"""
    members = x.new_zeros(len(subsets), len(x))
    return members.scatter_(1, torch.stack([*subsets]).to(x.device), 1)


def _within(kernel: Tensor, members: Tensor) -> Tensor:
    """Sum of a kernel [N, N] over the pairs of different samples of each subset [S, N]  ->  [S]"""
    kernel.diagonal().zero_()  # pairs of a sample with itself would bias it upward
    return ((members @ kernel) * members).sum(dim=1)


def _mmd2(kxx: Tensor, kyy: Tensor, kxy: Tensor) -> Tensor:
    m = len(kxx)
    within = kxx.sum() - kxx.trace() + kyy.sum() - kyy.trace()  # pairs of a sample with itself would bias it upward
    return within / (m * (m - 1)) - 2 * kxy.mean()
