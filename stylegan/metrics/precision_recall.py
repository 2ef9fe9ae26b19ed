"""Precision, recall, density and coverage: how much of each set lies in the other's manifold.

Each distance is computed once for all four.

N real, M generated samples, F features, k neighbours. A set's manifold is the union of balls around its samples that
reach to the k-th nearest other sample (Kynkaanniemi et al. 2019, Eq. 1; the boundary belongs to the ball).
pr50k3 is k = 3 with 50,000 generated and at most 200,000 real images, of which none is mirrored.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from stylegan.metrics.arrays import Array, MetricError, check_pair
from stylegan.metrics.neighbors import ROUNDING, exact_at, radii, rounding_of_fp32, squared_distances


@dataclass(frozen=True)
class Membership:
    """Who lies in whose manifold; every number is a mean of one of these, so that images can be resampled."""

    k: int
    gen_balls: Tensor  # int64 [M], how many balls of real samples hold each generated one
    real_inside: Tensor  # bool [N], whether a ball of a generated sample holds it
    real_covered: Tensor  # bool [N], whether its own ball holds a generated sample

    @property
    def gen_inside(self) -> Tensor:
        """bool [M], whether a ball of a real sample holds it"""
        return self.gen_balls > 0

    @property
    def precision(self) -> float:
        """Share of generated samples in the manifold of the real ones (Kynkaanniemi et al. 2019, Eq. 2)"""
        return float(self.gen_inside.double().mean())

    @property
    def recall(self) -> float:
        """Share of real samples in the manifold of the generated ones (Kynkaanniemi et al. 2019, Eq. 2)"""
        return float(self.real_inside.double().mean())

    @property
    def density(self) -> float:
        """Real balls around a generated sample / k (Naeem et al. 2020, Eq. 3); about 1 for one distribution"""
        return float(self.gen_balls.double().mean()) / self.k

    @property
    def coverage(self) -> float:
        """Share of real samples with a generated one in their ball (Naeem et al. 2020, Eq. 4)"""
        return float(self.real_covered.double().mean())


def precision_recall(real: Array, gen: Array, k: int = 3) -> tuple[float, float]:
    """Share of gen [M, F] within the manifold of real [N, F], and of real within that of gen.

    The default is the published k. See membership for what is refused.
    """
    found = membership(real, gen, k)
    return found.precision, found.recall


def membership(real: Array, gen: Array, k: int) -> Membership:
    """Who of real [N, F] and gen [M, F] lies in whose manifold, each distance computed once, in tiles

    Raises MetricError for features that do not fit together, and for k or fewer samples.
    """
    if k < 1:
        raise MetricError(f"precision_recall: k is {k}; at least 1 neighbour is needed. Raise evaluate.pr_neighbors.")
    x, y = centred(real, gen, k + 1)
    slack = rounding_slack(x, y)
    x_reach, y_reach = radii(x, k) + slack, radii(y, k) + slack
    gen_balls = torch.zeros(len(y), dtype=torch.long, device=x.device)
    real_inside, real_covered = (torch.zeros(len(x), dtype=torch.bool, device=x.device) for _ in range(2))
    rounding = rounding_of_fp32(x, y)
    for rows, columns, screened in squared_distances(y.float(), x.float()):
        tile = exact_at(screened, y[rows], x[columns], y_reach[rows], x_reach[columns], rounding)
        held = tile <= x_reach[columns]
        gen_balls[rows] += held.sum(dim=1)
        real_covered[columns] |= held.any(dim=0)
        real_inside[columns] |= (tile <= y_reach[rows, None]).any(dim=0)
    return Membership(k, gen_balls, real_inside, real_covered)


def centred(real: Array, gen: Array, min_samples: int) -> tuple[Tensor, Tensor]:
    """Features real [N, F] and gen [M, F] in fp64 about the mean of real: equal distances, with less rounding"""
    x, y = check_pair("precision_recall", real, gen, min_samples)
    centre = x.mean(dim=0)
    return x - centre, y - centre


def rounding_slack(x: Tensor, y: Tensor) -> float:
    """What is added to a squared radius: sets may share images, and a distance equal to it is not rounded out of it"""
    return ROUNDING * max(float(z.square().sum(dim=1).max()) for z in (x, y))
