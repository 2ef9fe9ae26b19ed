"""Extrapolation to infinitely many images, and distances within classes."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from stylegan.metrics import class_frechet_distances, features_frechet_distance, frechet_infinity
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.fid_infinity import Extrapolation, infinity_note, refuse_few

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


def test_too_few_images_for_a_line_are_refused_and_few_are_told() -> None:
    refuse_few(640, 64)
    with pytest.raises(MetricError) as caught:
        refuse_few(639, 64)
    assert str(caught.value) == (
        "fid_infinity: 639 generated images, but a line needs 10 for each of the 64 features, 640. Raise "
        "evaluate.num_images, or take fid_infinity out of evaluate.metrics."
    )
    line = Extrapolation(1.0, 2.0, 0.98765, (64, 1279), (3.0, 2.0))
    start = "FID-infinity is a line through 2 numbers of images up to 1279, r2 0.988."
    assert (
        infinity_note(line, 64)
        == f"{start} It is rough: 1279 generated images are fewer than 20 for each of 64 features."
    )
    assert infinity_note(line, 63) == start


def test_from_ten_images_a_feature_on_the_line_ends_near_the_truth() -> None:
    numbers, width = torch.Generator().manual_seed(0), 16
    real = torch.randn(40_000, width, generator=numbers, dtype=torch.float64)
    found = []
    for _ in range(20):
        gen = torch.randn(10 * width, width, generator=numbers, dtype=torch.float64) + 0.4
        refuse_few(len(gen), width)
        found.append(frechet_infinity(real, gen, 15, len(gen) // 10, 0).value)
    # The truth is 16 x 0.4^2 = 2.56 and the distance of 160 images itself 3.0. Bias where the line begins is not linear
    # yet, and with 20 draws the mean scatters by 0.1.
    assert abs(sum(found) / len(found) - 2.56) < 0.4
