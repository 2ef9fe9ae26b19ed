"""Frechet distance between Gaussians fitted to features (Heusel et al. 2017), and the streaming fit.

N samples, F features. Everything is fp64.
"""

import torch
from torch import Tensor

from stylegan.distributed import all_reduce_sum_
from stylegan.metrics.arrays import Array, MetricError, as_double

# Eigenvalues below this fraction of the largest are rounding noise of a covariance of rank < F.
RANK_TOLERANCE = 1e-13


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

    mu [F], cov [F, F]. Finite and at least 0 for singular covariances (fewer samples than features) too; there the
    value is biased upward by the small samples, so compare it with the real-vs-real floor at the same N.
    Raises MetricError when shapes disagree or a value is not finite.
    """
    m1, c1, m2, c2 = (as_double(x) for x in (mu1, cov1, mu2, cov2))
    _check_moments(m1, c1, m2, c2)
    distance = (m1 - m2).square().sum() + c1.trace() + c2.trace() - 2 * _trace_sqrt_product(c1, c2)
    return max(float(distance), 0.0)  # rounding can leave -1e-12 for equal Gaussians


def _trace_sqrt_product(c1: Tensor, c2: Tensor) -> Tensor:
    """tr (c1 c2)^(1/2) for symmetric positive semi-definite c1, c2.

    With c1 = a a^T the eigenvalues of c1 c2 are those of the symmetric a^T c2 a, so no matrix square root is needed.
    """
    a, other = _factor(c1), c2
    if a.shape[1] == len(c1):
        # A thin factor is exact about the null space, where square roots of rounding noise would add up: prefer it.
        b = _factor(c2)
        if b.shape[1] < len(c2):
            a, other = b, c1
    product = a.T @ other @ a
    eigenvalues: Tensor = torch.linalg.eigvalsh((product + product.T) / 2)
    return eigenvalues.clamp(min=0).sqrt().sum()


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
