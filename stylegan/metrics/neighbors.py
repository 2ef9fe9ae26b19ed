"""Nearest neighbours in feature space, in tiles: no matrix of all distances is ever made.

N, M samples, F features, k neighbours, T = TILE rows and columns of a tile. Everything is fp64.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

TILE = 2048  # bounds memory: 34 MB a tile, whatever the number of samples
# |x|^2 + |y|^2 - 2 x.y carries a rounding error below this fraction of the largest |x|^2 and |y|^2.
ROUNDING = 1e-12


def radii(x: Tensor, k: int) -> Tensor:
    """Squared distance of each sample of x [N, F] to its k-th nearest other sample  ->  [N]

    Distances are symmetric: each tile above the diagonal serves its rows and its columns, which halves the work.
    """
    found = x.new_full((len(x), k), torch.inf)
    for rows, columns, tile in squared_distances(x, x, upper=True):
        if rows == columns:
            tile.fill_diagonal_(torch.inf)  # a sample is not its own neighbour
        else:
            _keep_smallest(found[columns], tile.T)
        _keep_smallest(found[rows], tile)
    return found[:, -1].clamp(min=0)


def nearest(queries: Tensor, x: Tensor, k: int, *, others: bool = False) -> tuple[Tensor, Tensor]:
    """The k samples of x [M, F] nearest to each query [N, F]  ->  indices [N, k], distances [N, k], nearest first

    others: queries are x themselves, and no sample is its own neighbour.
    Distances are computed again from differences, so that of an exact copy is 0.
    """
    index = torch.zeros(len(queries), k, dtype=torch.long, device=x.device)
    best = x.new_full((len(queries), k), torch.inf)
    for rows, columns, tile in squared_distances(queries, x):
        if others and rows == columns:
            tile.fill_diagonal_(torch.inf)
        values, order = tile.topk(min(k, tile.shape[1]), dim=1, largest=False)
        values = torch.cat([best[rows], values], dim=1)
        candidates = torch.cat([index[rows], order + columns.start], dim=1)
        best[rows], order = values.topk(k, dim=1, largest=False)
        index[rows] = candidates.gather(1, order)
    pairs = zip(queries.split(TILE), index.split(TILE), strict=True)
    distances = torch.cat([torch.stack([(q - x[i[:, j]]).norm(dim=1) for j in range(k)], dim=1) for q, i in pairs])
    distances, order = distances.sort(dim=1, stable=True)
    return index.gather(1, order), distances


def squared_distances(x: Tensor, y: Tensor, *, upper: bool = False) -> Iterator[tuple[slice, slice, Tensor]]:
    """Tiles (rows of x [N, F], columns of y [M, F], [T, T]) of |x - y|^2; rounding may leave them just below 0.

    upper: only tiles on and above the diagonal. A tile may be written to.
    """
    x_norm, y_norm = x.square().sum(dim=1), y.square().sum(dim=1)
    for i in range(0, len(x), TILE):
        for j in range(i if upper else 0, len(y), TILE):
            rows, columns = slice(i, min(i + TILE, len(x))), slice(j, min(j + TILE, len(y)))
            norms = x_norm[rows, None] + y_norm[columns]
            yield rows, columns, norms.addmm_(x[rows], y[columns].T, alpha=-2)


def _keep_smallest(found: Tensor, tile: Tensor) -> None:
    """found [T, k], the smallest values of each row so far, in order <- those among them and tile [T, T]"""
    k = found.shape[1]
    values = tile.topk(min(k, tile.shape[1]), dim=1, largest=False).values
    found.copy_(torch.cat([found, values], dim=1).topk(k, dim=1, largest=False).values)
