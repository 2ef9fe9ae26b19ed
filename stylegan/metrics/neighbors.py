"""Nearest neighbours in feature space, in tiles: no matrix of all distances is ever made.

Distances are screened in fp32, at twice the speed of fp64 on processors and many times it on most GPUs. Whatever the
rounding of fp32 could decide is computed again in fp64, so results are those of fp64.
N, M samples, F features, k neighbours, T = TILE rows and columns of a tile.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

TILE = 2048  # bounds memory: 34 MB a tile in fp64, whatever the number of samples
SPARE = 1  # candidates beyond k, so that a near tie at the k-th is decided in fp64
FEW = 8  # unsure distances in a row of a tile; where there are more, as among copies, the whole tile is computed again
# |x|^2 + |y|^2 - 2 x.y carries in fp64 a rounding error below this fraction of the largest |x|^2 and |y|^2.
ROUNDING = 1e-12


def rounding_of_fp32(x: Tensor, y: Tensor) -> float:
    """Bound of the error of squared_distances in fp32: F roundings of terms as large as the largest squared norm

    (Higham 2002, Sec. 3.1: an inner product is wrong by at most F u |x| |y|, whatever the order of its sum.)
    """
    largest = max(float(z.square().sum(dim=1).max()) for z in (x, y))
    return (x.shape[1] + 8) * torch.finfo(torch.float32).eps * largest


def radii(x: Tensor, k: int) -> Tensor:
    """Squared distance of each sample of x [N, F] to its k-th nearest other sample  ->  fp64 [N]"""
    return nearest(x, x, k, others=True)[1][:, -1].square()


def nearest(queries: Tensor, x: Tensor, k: int, *, others: bool = False) -> tuple[Tensor, Tensor]:
    """The k samples of x [M, F] nearest to each query [N, F]  ->  indices [N, k], fp64 distances [N, k], nearest first

    others: queries are x themselves, and no sample is its own neighbour.
    Distances are of differences, so that of an exact copy is 0.
    """
    own = torch.arange(len(x), device=x.device) if others else None
    available = len(x) - int(others)
    index, screened = _screen(queries.float(), x.float(), min(k + SPARE, available), own, upper=others)
    index, distances = _ordered(queries, x, index)
    if index.shape[1] < available:
        # What was left out may be nearer than the k-th found by no more than the rounding.
        unsure = screened[:, -1].double() <= distances[:, k - 1].square() + rounding_of_fp32(queries, x)
        for rows in unsure.nonzero().flatten().split(TILE):
            found, _ = _screen(queries[rows], x, index.shape[1], None if own is None else own[rows])
            index[rows], distances[rows] = _ordered(queries[rows], x, found)
    return index[:, :k], distances[:, :k]


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


def exact_at(tile: Tensor, x: Tensor, y: Tensor, x_limit: Tensor, y_limit: Tensor, rounding: float) -> Tensor:
    """fp64 tile that compares with both limits as if it were exact

    tile: fp32 squared distances of x [T, F] and y [T, F]; x_limit, y_limit: fp64 [T], of rows and of columns.
    """
    unsure = (tile - x_limit[:, None].float()).abs_() <= rounding
    unsure |= (tile - y_limit.float()).abs_() <= rounding
    i, j = unsure.nonzero(as_tuple=True)
    if len(i) > FEW * len(tile):
        return next(squared_distances(x, y))[2]
    exact = tile.double()
    exact[i, j] = _squared(x[i], y[j])
    return exact


def _screen(
    queries: Tensor, x: Tensor, count: int, own: Tensor | None, *, upper: bool = False
) -> tuple[Tensor, Tensor]:
    """The `count` smallest distances of each query, as far as the precision tells  ->  indices, squared distances

    own: indices [N] of the queries in x, which do not count. upper: queries are x; each tile above the diagonal serves
    its rows and its columns, which halves the work.
    """
    index = torch.zeros(len(queries), count, dtype=torch.long, device=x.device)
    best = x.new_full((len(queries), count), torch.inf)
    for rows, columns, tile in squared_distances(queries, x, upper=upper):
        if own is not None:
            position = own[rows] - columns.start
            inside = (position >= 0) & (position < tile.shape[1])
            tile[inside.nonzero().flatten(), position[inside]] = torch.inf
        if upper and rows != columns:
            _keep_smallest(best[columns], index[columns], tile.T, rows.start)
        _keep_smallest(best[rows], index[rows], tile, columns.start)
    return index, best


def _keep_smallest(best: Tensor, index: Tensor, tile: Tensor, start: int) -> None:
    """best, index [T, count] <- the smallest among them and tile [T, T], whose first column is sample `start`"""
    count = best.shape[1]
    values, order = tile.topk(min(count, tile.shape[1]), dim=1, largest=False)
    values, candidates = torch.cat([best, values], dim=1), torch.cat([index, order + start], dim=1)
    values, order = values.topk(count, dim=1, largest=False)
    best.copy_(values)
    index.copy_(candidates.gather(1, order))


def _ordered(queries: Tensor, x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Candidates [N, count] in the order of their fp64 distances, and of equals in that of their indices"""
    index = index.sort(dim=1).values
    pairs = zip(queries.split(TILE), index.split(TILE), strict=True)
    squared = torch.cat([torch.stack([_squared(q, x[i]) for i in rows.T], dim=1) for q, rows in pairs])
    squared, order = squared.sort(dim=1, stable=True)
    return index.gather(1, order), squared.sqrt()


def _squared(x: Tensor, y: Tensor) -> Tensor:
    """fp64 squared distances of pairs x, y [N, F]  ->  [N]"""
    return (x.double() - y.double()).square_().sum(dim=1)
