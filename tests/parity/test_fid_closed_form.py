"""The Frechet distance against closed forms and against scipy's matrix square root."""

import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
import torch

from stylegan.metrics import features_frechet_distance, fid, frechet_distance
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.fid import FeatureMoments, centred_factor, singular_note

Array = npt.NDArray[np.float64]


def random_cov(rng: np.random.Generator, size: int, rank: int) -> Array:
    """Covariance whose axes are turned at random and whose deviations span three orders of magnitude."""
    axes = np.linalg.qr(rng.standard_normal((size, size)))[0]
    samples: Array = rng.standard_normal((rank, size)) * np.logspace(0, -3, size) @ axes
    cov: Array = samples.T @ samples / rank
    return cov


def reference(mu1: Array, cov1: Array, mu2: Array, cov2: Array) -> float:
    root = np.real(scipy.linalg.sqrtm(cov1 @ cov2))
    return float(np.square(mu1 - mu2).sum() + np.trace(cov1 + cov2 - 2 * root))


def test_distance_of_diagonal_gaussians_is_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    mu1, mu2 = rng.standard_normal((2, 7))
    s1, s2 = rng.uniform(0.1, 2, (2, 7))
    expected = np.square(mu1 - mu2).sum() + np.square(s1 - s2).sum()
    distance = frechet_distance(mu1, np.diag(s1**2), mu2, np.diag(s2**2))
    assert distance == pytest.approx(expected, rel=1e-12)  # fp64; a handful of operations per feature


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_distance_equals_the_matrix_square_root_of_scipy(scale: float) -> None:
    rng = np.random.default_rng(1)
    mu1, mu2 = rng.standard_normal((2, 64)) * scale
    cov1, cov2 = random_cov(rng, 64, 400) * scale**2, random_cov(rng, 64, 300) * scale**2
    # sqrtm of a product with condition number 1e12 keeps about half of fp64's digits.
    assert frechet_distance(mu1, cov1, mu2, cov2) == pytest.approx(reference(mu1, cov1, mu2, cov2), rel=1e-6)


@pytest.mark.parametrize(("num1", "num2"), [(400, 20), (20, 400), (20, 30)])
def test_distance_with_fewer_samples_than_features_is_exact(num1: int, num2: int) -> None:
    rng = np.random.default_rng(2)
    x, y = (rng.standard_normal((n, 64)) / np.sqrt(n) for n in (num1, num2))
    zero = np.zeros(64)
    # tr (X^T X Y^T Y)^(1/2) is the nuclear norm of X Y^T: true at any rank, and no square root of a rounded zero in it.
    expected = np.square(x).sum() + np.square(y).sum() - 2 * np.linalg.svd(x @ y.T, compute_uv=False).sum()
    distance = frechet_distance(zero, x.T @ x, zero, y.T @ y)
    assert distance == pytest.approx(expected, rel=1e-11)  # fp64; square roots of rounded zeros would cost 1e-8


def test_distance_is_symmetric() -> None:
    rng = np.random.default_rng(3)
    one = rng.standard_normal(32), random_cov(rng, 32, 100)
    two = rng.standard_normal(32), random_cov(rng, 32, 10)
    assert frechet_distance(*one, *two) == pytest.approx(frechet_distance(*two, *one), rel=1e-9)  # fp64 eigenvalues


@pytest.mark.parametrize("rank", [5, 100])
def test_distance_to_itself_is_zero(rank: int) -> None:
    rng = np.random.default_rng(4)
    mu, cov = rng.standard_normal(32), random_cov(rng, 32, rank)
    distance = frechet_distance(mu, cov, mu, cov)
    assert 0 <= distance < 1e-6 * np.trace(cov)  # square roots of eigenvalues carry half of fp64's digits


def test_distance_of_all_equal_samples_is_finite() -> None:
    zero = torch.zeros(8, 8)
    assert frechet_distance(torch.zeros(8), zero, torch.ones(8), zero) == 8


def test_moments_of_a_stream_are_those_of_the_whole() -> None:
    features = torch.from_numpy(np.random.default_rng(5).standard_normal((50, 6)) + 3)
    moments = FeatureMoments(6)
    for batch in torch.split(features, [1, 20, 29]):
        moments.append(batch)
    mean, cov = moments.mean_and_cov()
    assert moments.count == 50
    torch.testing.assert_close(mean, features.mean(dim=0), rtol=1e-12, atol=0)  # fp64 sums in another order
    torch.testing.assert_close(cov, torch.cov(features.T, correction=0), rtol=1e-10, atol=1e-12)


def test_statistics_of_no_features_are_refused() -> None:
    with pytest.raises(MetricError, match="mean and covariance of no features; append at least one batch first"):
        FeatureMoments(4).mean_and_cov()


def test_gaussians_of_different_extractors_are_refused() -> None:
    with pytest.raises(MetricError) as caught:
        frechet_distance(np.zeros(3), np.eye(3), np.zeros(4), np.eye(4))
    assert str(caught.value) == (
        "frechet_distance: mu1, cov1, mu2, cov2 have shapes [(3,), (3, 3), (4,), (4, 4)]; expected [F], [F, F], [F], "
        "[F, F] with one F. Both sides must come from the same extractor."
    )


def test_not_a_number_is_refused() -> None:
    with pytest.raises(MetricError) as caught:
        frechet_distance(np.full(2, np.nan), np.eye(2), np.zeros(2), np.eye(2))
    assert str(caught.value) == (
        "frechet_distance: a mean or covariance holds NaN or infinity; the images or the extractor's weights do. "
        "Check the generator with `python -m stylegan generate`."
    )


@pytest.mark.parametrize(("num1", "num2"), [(400, 300), (400, 20), (20, 400), (20, 30), (1, 400), (1, 1), (33, 32)])
def test_distance_of_features_is_that_of_their_moments(num1: int, num2: int) -> None:
    rng = np.random.default_rng(6)
    x, y = (rng.standard_normal((n, 32)) @ rng.standard_normal((32, 32)) + 5 for n in (num1, num2))
    moments = [(z.mean(axis=0), np.cov(z.T, bias=True)) for z in (x, y)]
    # Square roots of rounded zeros cost the reference half of fp64's digits where it is singular.
    assert features_frechet_distance(x, y) == pytest.approx(frechet_distance(*moments[0], *moments[1]), rel=1e-6)


@pytest.mark.parametrize("num", [400, 20])
def test_distance_of_features_is_the_nuclear_norm_of_their_product(num: int) -> None:
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((num, 32)), rng.standard_normal((15, 32)) + 1
    a, b = ((z - z.mean(axis=0)) / np.sqrt(len(z)) for z in (x, y))
    roots = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    expected = np.square(x.mean(axis=0) - y.mean(axis=0)).sum() + np.square(a).sum() + np.square(b).sum() - 2 * roots
    assert features_frechet_distance(x, y) == pytest.approx(expected, rel=1e-11)  # fp64


def test_factor_of_few_samples_is_that_of_their_covariance() -> None:
    x = np.random.default_rng(8).standard_normal((6, 10)) + 3
    factor = centred_factor(torch.from_numpy(x)).numpy()
    assert factor.shape == (10, 5)
    np.testing.assert_allclose(factor @ factor.T, np.cov(x.T, bias=True), rtol=0, atol=1e-13)


@pytest.mark.parametrize("strip", [1, 5, 16, 100])
def test_product_in_strips_is_the_lower_triangle_of_the_product(strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fid, "STRIP", strip)
    rng = np.random.default_rng(9)
    c = torch.from_numpy(random_cov(rng, 16, 40))
    for a in (torch.from_numpy(rng.standard_normal((16, 9))), torch.linalg.cholesky(c + torch.eye(16))):
        torch.testing.assert_close(fid._lower_product(a, c).tril(), (a.T @ c @ a).tril(), rtol=1e-12, atol=1e-12)


def test_a_feature_that_is_always_zero_changes_nothing() -> None:
    rng = np.random.default_rng(10)
    x, y = rng.standard_normal((100, 8)), rng.standard_normal((100, 8)) * 2
    padded = (np.pad(z, ((0, 0), (0, 3))) for z in (x, y))
    assert features_frechet_distance(*padded) == pytest.approx(features_frechet_distance(x, y), rel=1e-9)  # fp64 roots


def test_singular_covariances_are_noted() -> None:
    assert singular_note(3000, 2049, 2048) is None
    assert singular_note(3000, 1000, 2048) == (
        "1000 generated images leave a covariance of 2048 features singular. The distance is exact, but biased upward: "
        "compare it only at equal numbers of images and with the real-vs-real floor, or use KID."
    )
    assert str(singular_note(5, 6, 8)).startswith("5 real images and 6 generated images leave")
