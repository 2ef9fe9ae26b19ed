"""Confidence intervals of precision, recall, density and coverage by complementary half samples of both sets.

Each resampling splits the real and the generated images into halves at random and measures each pair of halves. Two
halves are independent samples, so their squared difference says how much a number of half as many images varies, and
the variance of a mean is half of that (McCarthy 1969; Shao and Wu 1989, whose delete-d jackknife it is, d = N / 2).
Balls are made anew in every half. A bootstrap cannot do that, since an image and its repetitions would be neighbours;
with balls that stay, its intervals are too narrow by far. Leaving out a few images at a time makes them too wide, since
the k-th neighbour of many images changes with each that leaves. benchmarks/intervals.py compares all three.

N real, M generated samples, F features, R resamplings, P pairs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from stylegan.metrics.arrays import Array
from stylegan.metrics.bootstrap import Interval, check_resampling
from stylegan.metrics.neighbors import nearest, squared_distances
from stylegan.metrics.precision_recall import Membership, centred, rounding_slack

# The variance is an estimate itself, in simulations about as good as one with so many degrees of freedom.
DEGREES = 10
MOST = 2**22  # values at a time
SPARE = 8  # times k neighbours are kept of each sample; in most halves the k-th is among them
TERMS = ("precision", "recall", "density", "coverage")  # columns of Halves


@dataclass(frozen=True)
class Halves:
    """Of each resampling, precision, recall, density and coverage of the two pairs of halves"""

    first: Tensor  # fp64 [R, 4]
    second: Tensor  # fp64 [R, 4]
    share: float = 1.0  # that the split sets are of the whole ones

    @property
    def variance(self) -> Tensor:
        """Of each number measured with whole sets, fp64 [4]"""
        return self.share * (self.first - self.second).square().mean(dim=0) / 4


def manifold_intervals(
    real: Array, gen: Array, found: Membership, num_resamples: int, seed: int, level: float
) -> dict[str, Interval]:
    """Of precision, recall, density and coverage, by name: what equally many other images of both kinds would score

    found: the membership of real [N, F] and gen [M, F] themselves.
    """
    check_resampling(num_resamples, level)
    return intervals_by_halves(found, half_samples(real, gen, found.k, num_resamples, seed), level)


def intervals_by_halves(found: Membership, halves: Halves, level: float) -> dict[str, Interval]:
    """The same from halves that are known

    A share is never surer than the same share of independent images would be (Wilson 1927), so that a share of 0 or 1
    has an interval too.
    """
    variance = halves.variance.tolist()
    z = NormalDist().inv_cdf((1 + level) / 2)
    counts = {"precision": len(found.gen_balls), "recall": len(found.real_inside), "coverage": len(found.real_inside)}
    intervals = {}
    for term, squared in zip(TERMS, variance, strict=True):
        value, half = getattr(found, term), _student(z) * squared**0.5
        low, high = max(value - half, 0.0), value + half
        if term in counts:
            surest = _wilson(value, counts[term], z)
            low, high = min(low, surest[0]), min(max(high, surest[1]), 1.0)
        intervals[term] = Interval(value, low, high)
    return intervals


def balance_error(one: Halves, other: Halves) -> float:
    """Standard error of the difference in the balance of precision and recall between generated images that share
    latents, real images and halves: what both owe to these cancels"""
    first, second = (_balance(a) - _balance(b) for a, b in ((one.first, other.first), (one.second, other.second)))
    return float((one.share * (first - second).square().mean() / 4).sqrt())


def _balance(terms: Tensor) -> Tensor:
    """Harmonic mean of precision and recall in [R, 4]  ->  [R]; 0 where one of them is"""
    precision, recall = terms[:, 0], terms[:, 1]
    return 2 * precision * recall / (precision + recall).clamp(min=1e-12)


def half_samples(real: Array, gen: Array, k: int, num_resamples: int, seed: int) -> Halves:
    """Precision, recall, density and coverage of random halves of real [N, F] and gen [M, F] and of the other halves

    Raises MetricError for features that do not fit together, and for halves of k or fewer samples.
    """
    x, y = centred(real, gen, 2 * (k + 1))
    rng = np.random.default_rng(seed)
    in_x, in_y = (_draw_halves(rng, len(z), num_resamples).to(x.device) for z in (x, y))
    slack = rounding_slack(x, y)
    x_reach, y_reach = _reaches(x, in_x, k) + slack, _reaches(y, in_y, k) + slack
    balls, inside, covered = (
        torch.zeros(half.shape, dtype=torch.int32, device=x.device) for half in (in_y, in_x, in_x)
    )
    for rows, columns, tile in squared_distances(y, x):
        # Most pairs are too far apart for any half, and never looked at again.
        near = (tile <= x_reach.amax(dim=0)[columns]) | (tile <= y_reach.amax(dim=0)[rows, None])
        i, j = near.nonzero(as_tuple=True)
        distance, i, j = tile[i, j], i + rows.start, j + columns.start
        for part in _parts(num_resamples, len(i)):
            together = in_y[part, i] == in_x[part, j]
            held = together & (distance <= x_reach[part, j])
            _count(balls[part], i, held)
            _count(covered[part], j, held)
            _count(inside[part], j, together & (distance <= y_reach[part, i]))
    terms = ((balls > 0, in_y), (inside > 0, in_x), (balls / k, in_y), (covered > 0, in_x))
    first, second = (
        torch.stack([_mean_where(values, kept == half) for values, kept in terms], dim=1) for half in (True, False)
    )
    return Halves(first.cpu(), second.cpu())  # they travel to the process that compares psi


def _draw_halves(rng: np.random.Generator, count: int, num_resamples: int) -> Tensor:
    """Who is in the first half, bool [R, N]"""
    half = np.arange(count) < count // 2
    return torch.from_numpy(np.stack([rng.permutation(half) for _ in range(num_resamples)]))


def _reaches(x: Tensor, in_first: Tensor, k: int) -> Tensor:
    """Squared distance of each sample of x [N, F] to the k-th nearest other one of its half  ->  fp64 [R, N]"""
    index, distance = nearest(x, x, min(SPARE * k, len(x) - 1), others=True)
    num_kept = index.shape[1]
    reach = torch.zeros(in_first.shape, dtype=torch.float64, device=x.device)
    for part in _parts(len(in_first), index.numel()):
        first = in_first[part]
        place = ((first[:, index] == first[:, :, None]).cumsum(dim=2, dtype=torch.int32) < k).sum(dim=2)
        found = distance.expand(len(first), -1, -1).gather(2, place.clamp(max=num_kept - 1)[:, :, None])[:, :, 0]
        for r in (place == num_kept).any(dim=1).nonzero().flatten().tolist():
            for half in (first[r], ~first[r]):
                far = (half & (place[r] == num_kept)).nonzero().flatten()
                if len(far):  # the sample itself is the nearest one of its half
                    found[r, far] = nearest(x[far], x[half], k + 1)[1][:, k]
        reach[part] = found.square()
    return reach


def _parts(num_resamples: int, size: int) -> Iterator[slice]:
    """Resamplings in parts, of which each holds about MOST values where one of them has `size`"""
    step = max(MOST // max(size, 1), 1)
    yield from (slice(start, min(start + step, num_resamples)) for start in range(0, num_resamples, step))


def _count(totals: Tensor, index: Tensor, found: Tensor) -> None:
    """totals [R, N] <- how many of found [R, P], which are of the samples index [P], are true"""
    totals.scatter_add_(1, index.expand(len(totals), -1), found.to(totals.dtype))


def _mean_where(values: Tensor, kept: Tensor) -> Tensor:
    """Mean of values [R, N] over those kept [R, N]  ->  fp64 [R]"""
    return (values.double() * kept).sum(dim=1) / kept.sum(dim=1)


def _student(z: float) -> float:
    """Quantile of Student's t with DEGREES from the normal one (Fisher and Cornish 1960)"""
    return z + (z**3 + z) / (4 * DEGREES) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * DEGREES**2)


def _wilson(share: float, count: int, z: float) -> tuple[float, float]:
    """Confidence interval of a share of independent samples (Wilson 1927)"""
    shrink = 1 + z * z / count
    centre = (share + z * z / (2 * count)) / shrink
    half = z / shrink * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return max(centre - half, 0.0), min(centre + half, 1.0)
