"""Extrapolation to infinitely many images, and distances within classes."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from stylegan.metrics import class_frechet_distances, features_frechet_distance, frechet_infinity
from stylegan.metrics.arrays import MetricError

Array = npt.NDArray[np.float64]


def sets(num_gen: int = 600, shift: float = 0.0) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((4000, 8)), rng.standard_normal((num_gen, 8)) + shift


def test_extrapolation_removes_most_of_the_bias_of_few_images() -> None:
    real, gen = sets()
    found = frechet_infinity(real, gen, num_points=15, min_samples=60, seed=0)
    assert found.counts[0] == 60
    assert found.counts[-1] == 600
    assert found.slope > 0
    assert abs(found.value) < found.distances[-1] / 2  # the distributions are equal


def test_last_point_is_the_distance_of_all_images() -> None:
    real, gen = sets()
    found = frechet_infinity(real, gen, num_points=3, min_samples=5, seed=0)
    assert found.distances[-1] == pytest.approx(features_frechet_distance(real, gen), rel=1e-9)  # order of fp64 sums


def test_points_on_a_line_against_the_inverse_number_meet_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegan.metrics.fid_infinity.gaussian_distance", lambda _, count: 2 + 30 / count)
    monkeypatch.setattr("stylegan.metrics.fid_infinity.fit", len)
    found = frechet_infinity(*sets(), num_points=5, min_samples=10, seed=0)
    assert (found.value, found.slope, found.r2) == pytest.approx((2, 30, 1))


def test_same_seed_same_extrapolation() -> None:
    one, two, other = (frechet_infinity(*sets(100), 4, 20, seed) for seed in (0, 0, 1))
    assert one == two
    assert one != other


@pytest.mark.parametrize(("num_points", "min_samples"), [(1, 10), (3, 1), (3, 19)])
def test_lines_without_points_are_refused(num_points: int, min_samples: int) -> None:
    with pytest.raises(MetricError) as caught:
        frechet_infinity(*sets(20), num_points=num_points, min_samples=min_samples, seed=0)
    assert str(caught.value) == (
        f"frechet_infinity: {num_points} points from {min_samples} to 20 generated samples; at least 2 points with "
        "numbers of their own, from 2 samples on, are needed. Generate more images."
    )


def test_distance_of_a_class_is_that_of_its_images() -> None:
    real, gen = sets(50)
    real_labels, gen_labels = np.arange(len(real)) % 3, np.arange(50) % 2
    gen_labels[0] = 2
    found = class_frechet_distances(real, torch.eye(3)[real_labels], gen, torch.eye(3)[gen_labels])
    assert [(one.label, one.num_gen) for one in found] == [(0, 24), (1, 25), (2, 1)]
    assert [one.num_real for one in found] == np.bincount(real_labels).tolist()
    for one in found[:2]:
        expected = features_frechet_distance(real[real_labels == one.label], gen[gen_labels == one.label])
        assert one.distance == expected
    assert found[2].distance is None  # one image has no spread


@pytest.mark.parametrize(
    ("real_c", "message"),
    [
        (
            torch.zeros(4000, 3),
            "class_frechet_distances: labels [4000, 3] are not one-hot, so they name no classes. "
            "Per-class distances need a data set with class labels and data.use_labels: true.",
        ),
        (
            torch.eye(3)[[0, 1]],
            "class_frechet_distances: labels are [2, 3] and [50, 3] for 4000 real and 50 generated features; expected "
            "[N, c_dim] and [M, c_dim], one row for each image.",
        ),
    ],
)
def test_unfit_labels_are_refused(real_c: torch.Tensor, message: str) -> None:
    real, gen = sets(50)
    with pytest.raises(MetricError) as caught:
        class_frechet_distances(real, real_c, gen, torch.eye(3)[np.zeros(50, int)])
    assert str(caught.value) == message
