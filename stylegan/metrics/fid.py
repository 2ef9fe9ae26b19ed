"""Frechet distance between Gaussians fitted to features (Heusel et al. 2017), and the streaming fit.

N samples, F features. Everything is fp64.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from stylegan.distributed import all_reduce_sum_
from stylegan.metrics.arrays import Array, MetricError, as_double, check_pair

# Eigenvalues below this fraction of the largest are rounding noise of a covariance of rank < F.
RANK_TOLERANCE = 1e-13
STRIP = 256  # columns of a product that is computed in strips


class FeatureMoments:
    """Mean and covariance of a stream of features, in memory that does not grow with their number."""

    def __init__(self, num_features: int, device: torch.device | str = "cpu") -> None:
        self._count = torch.zeros([], dtype=torch.float64, device=device)
        self._sum = torch.zeros(num_features, dtype=torch.float64, device=device)
        self._outer = torch.zeros(num_features, num_features, dtype=torch.float64, device=device)

    def append(self, features: Tensor) -> None:
        """Add features [N, F]."""
        x = features.to(self._sum)
        self._count += x.shape[0]
        self._sum += x.sum(dim=0)
        self._outer.addmm_(x.T, x)

    def all_reduce_(self) -> None:
        """Add up what every rank has seen; call once, at the end."""
        for total in (self._count, self._sum, self._outer):
            all_reduce_sum_(total)

    @property
    def count(self) -> int:
        """Number of samples seen"""
        return int(self._count.item())

    def mean_and_cov(self) -> tuple[Tensor, Tensor]:
        """Mean [F] and covariance [F, F] divided by N, as the published FIDs are.

        Raises MetricError before the first sample.
        """
        if self.count == 0:
            raise MetricError("mean and covariance of no features; append at least one batch first")
        mean = self._sum / self._count
        return mean, self._outer / self._count - mean[:, None] * mean[None, :]


def frechet_distance(mu1: Array, cov1: Array, mu2: Array, cov2: Array) -> float:
    """|mu1 - mu2|^2 + tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2)) (Heusel et al. 2017, Eq. 6; Dowson and Landau 1982).

    mu [F], cov [F, F]. Finite and at least 0 for singular covariances (fewer samples than features) too; singular_note
    says what the value means there.
    Raises MetricError if shapes disagree or a value is not finite.
    """
    m1, c1, m2, c2 = (as_double(x) for x in (mu1, cov1, mu2, cov2))
    _check_moments(m1, c1, m2, c2)
    a, other = _factor(c1), c2
    if a.shape[1] == len(c1):
        # A thin factor is exact about the null space, where square roots of rounding noise would add up: prefer it.
        b = _factor(c2)
        if b.shape[1] < len(c2):
            a, other = b, c1
    return _distance(m1 - m2, c1.trace() + c2.trace(), _trace_sqrt_product(a, other))


@dataclass(frozen=True)
class Gaussian:
    """Fitted to features; of no more samples than features the covariance is kept as a thin factor, exact and cheap."""

    mean: Tensor  # fp64 [F]
    cov: Tensor | None  # fp64 [F, F], or
    factor: Tensor | None  # fp64 [F, N-1], the covariance being factor factor^T

    def to(self, device: torch.device | str) -> "Gaussian":
        """The same on another device"""
        cov, factor = (None if x is None else x.to(device) for x in (self.cov, self.factor))
        return Gaussian(self.mean.to(device), cov, factor)


def fit(features: Array) -> Gaussian:
    """Gaussian of features [N, F], the covariance divided by N"""
    x = as_double(features)
    if len(x) <= x.shape[1]:
        return Gaussian(x.mean(dim=0), None, centred_factor(x))
    return Gaussian(x.mean(dim=0), torch.cov(x.T, correction=0).reshape(x.shape[1], x.shape[1]), None)


def gaussian_distance(one: Gaussian, two: Gaussian) -> float:
    """frechet_distance, exact and cheap where a covariance is singular for want of samples"""
    if two.factor is None:
        one, two = two, one
    if two.factor is None:
        assert one.cov is not None
        assert two.cov is not None
        return frechet_distance(one.mean, one.cov, two.mean, two.cov)
    if one.cov is not None:
        root, variance = _trace_sqrt_product(two.factor, one.cov), one.cov.trace()
    else:
        assert one.factor is not None
        # tr (a a^T b b^T)^(1/2) is the nuclear norm of a^T b.
        root, variance = torch.linalg.svdvals(one.factor.T @ two.factor).sum(), one.factor.square().sum()
    return _distance(one.mean - two.mean, variance + two.factor.square().sum(), root)


def features_frechet_distance(real: Array, gen: Array) -> float:
    """Frechet distance of features real [N, F] and gen [M, F], covariances divided by N and M

    Raises MetricError for features that do not fit together.
    """
    x, y = check_pair("frechet_distance", real, gen, min_samples=1)
    return gaussian_distance(fit(x), fit(y))


def centred_factor(features: Tensor) -> Tensor:
    """A factor a [F, N-1] of the covariance a a^T (divided by N) of features [N, F]

    Centring removes one dimension; a reflection that turns the vector of ones onto the first axis leaves the others,
    so that no rounded zero is kept.
    """
    n = len(features)
    x = features - features.mean(dim=0)
    v = torch.full((n,), n**-0.5, dtype=x.dtype, device=x.device)
    v[0] += 1
    v /= v.norm()
    factor: Tensor = (x - 2 * v[:, None] * (v @ x))[1:].T / n**0.5
    return factor


def singular_note(num_real: int, num_gen: int, num_features: int) -> str | None:
    """What to say next to a distance of fewer samples than features; None if there is nothing to say"""
    sets = {"real": num_real, "generated": num_gen}
    few = [f"{count} {name} images" for name, count in sets.items() if count <= num_features]
    if not few:
        return None
    return (
        f"{' and '.join(few)} leave a covariance of {num_features} features singular. The distance is exact, but "
        "biased upward: compare it only at equal numbers of images and with the real-vs-real floor, or use KID."
    )


def _distance(means: Tensor, variance: Tensor, root: Tensor) -> float:
    return max(float(means.square().sum() + variance - 2 * root), 0.0)  # rounding can leave -1e-12 where equal


def _trace_sqrt_product(a: Tensor, c: Tensor) -> Tensor:
    """tr (a a^T c)^(1/2) for a symmetric positive semi-definite c [F, F] and a factor a [F, rank].

    The eigenvalues of a a^T c are those of the symmetric a^T c a, so no matrix square root is needed.
    """
    eigenvalues: Tensor = torch.linalg.eigvalsh(_lower_product(a, c))
    return eigenvalues.clamp(min=0).sqrt().sum()


def _lower_product(a: Tensor, c: Tensor) -> Tensor:
    """The lower triangle of a^T c a, which is all that eigvalsh reads; above its blocks of STRIP it is 0.

    In strips of columns, so that what is 0 in Cholesky's factor, or not read of the product, is never multiplied: a
    quarter of the work of the two products.
    """
    rank = a.shape[1]
    triangular = torch.equal(a, a.tril())
    product = torch.zeros(rank, rank, dtype=a.dtype, device=a.device)
    for start in range(0, rank, STRIP):
        top = start if triangular else 0  # above it this strip of a is 0
        strip = c[top:, top:] @ a[top:, start : start + STRIP]
        for row in range(start, rank, STRIP):
            above = row if triangular else 0
            product[row : row + STRIP, start : start + STRIP] = a[above:, row : row + STRIP].T @ strip[above - top :]
    return product


def _factor(cov: Tensor) -> Tensor:
    """A factor a [F, rank] with a a^T = cov: Cholesky's, or from eigenvectors where cov is singular"""
    a: Tensor
    a, info = torch.linalg.cholesky_ex(cov)
    diagonal = a.diagonal()
    if info == 0 and diagonal.min() ** 2 > RANK_TOLERANCE * diagonal.max() ** 2:
        return a
    eigenvalues, vectors = torch.linalg.eigh(cov)
    kept = eigenvalues > RANK_TOLERANCE * eigenvalues[-1]
    a = vectors[:, kept] * eigenvalues[kept].sqrt()
    return a


def _check_moments(m1: Tensor, c1: Tensor, m2: Tensor, c2: Tensor) -> None:
    f = m1.numel()
    shapes = [tuple(x.shape) for x in (m1, c1, m2, c2)]
    if shapes != [(f,), (f, f), (f,), (f, f)]:
        raise MetricError(
            f"frechet_distance: mu1, cov1, mu2, cov2 have shapes {shapes}; expected [F], [F, F], [F], [F, F] with "
            "one F. Both sides must come from the same extractor."
        )
    if not all(bool(x.isfinite().all()) for x in (m1, c1, m2, c2)):
        raise MetricError(
            "frechet_distance: a mean or covariance holds NaN or infinity; the images or the extractor's weights do. "
            "Check the generator with `python -m stylegan generate`."
        )
