"""Improved precision and recall: how much of each set lies in the other's manifold (Kynkaanniemi et al. 2019).

N real, M generated samples, F features, k neighbours, B rows of a block. Distances are made in blocks of rows, never
as a whole [N, M] matrix.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from stylegan.metrics.arrays import Array, MetricError, check_pair

BLOCK_ROWS = 1024  # bounds memory: a block against 50,000 samples is 400 MB in fp64
# |x|^2 + |y|^2 - 2 x.y leaves this much of |x|^2 + |y|^2 where x = y: below it two samples are the same.
ROUNDING = 1e-12


def precision_recall(real: Array, gen: Array, k: int = 3) -> tuple[float, float]:
    """Share of gen [M, F] within the manifold of real [N, F], and of real within that of gen.

    A set's manifold is the union of balls around its samples that reach to the k-th nearest other sample
    (Kynkaanniemi et al. 2019, Eq. 1-2; their k is the default).
    Raises MetricError for features that do not fit together, and for k or fewer samples.
    """
    if k < 1:
        raise MetricError(f"precision_recall: k is {k}; at least 1 neighbour is needed. Raise evaluate.pr_neighbors.")
    x, y = check_pair("precision_recall", real, gen, min_samples=k + 1)
    centre = x.mean(dim=0)  # distances do not change, their rounding gets smaller
    x, y = x - centre, y - centre
    return _share_inside(y, x, k), _share_inside(x, y, k)


def radii(x: Tensor, k: int) -> Tensor:
    """Squared distance of each sample of x [N, F] to its k-th nearest other sample  ->  [N]"""
    result = []
    for start, block in _squared_distances(x, x):
        rows = torch.arange(len(block), device=x.device)
        block[rows, start + rows] = torch.inf  # a sample is not its own neighbour
        result.append(block.kthvalue(k, dim=1).values)
    return torch.cat(result)


def _share_inside(queries: Tensor, manifold: Tensor, k: int) -> float:
    reach = radii(manifold, k)
    inside = [(block <= reach).any(dim=1) for _, block in _squared_distances(queries, manifold)]
    return float(torch.cat(inside).double().mean())


def _squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Blocks (first row, [B, M]) of squared distances between the rows of x [N, F] and y [M, F]"""
    x_norm, y_norm = x.square().sum(dim=1), y.square().sum(dim=1)
    for start in range(0, len(x), BLOCK_ROWS):
        stop = start + BLOCK_ROWS
        norms = x_norm[start:stop, None] + y_norm
        block = norms.addmm(x[start:stop], y.T, alpha=-2)
        yield start, torch.where(block > ROUNDING * norms, block, 0.0)
