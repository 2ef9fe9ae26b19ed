"""Nearest training images against all distances at once, and copies on sets whose answer is known."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.spatial.distance import cdist

from stylegan.metrics import neighbors, training_neighbors
from stylegan.metrics.arrays import MetricError

Array = npt.NDArray[np.float64]


def sets() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((70, 6)) + 100, rng.standard_normal((45, 6)) + 100


@pytest.mark.parametrize("tile", [1, 16, 1000])
def test_neighbours_are_those_of_all_distances_at_once(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    train, gen = sets()
    monkeypatch.setattr(neighbors, "TILE", tile)
    found = training_neighbors(train, gen, k=4)
    distances, among = cdist(gen, train), cdist(train, train)
    order = np.argsort(distances, axis=1)[:, :4]
    assert found.index.tolist() == order.tolist()
    np.testing.assert_allclose(found.distance, np.sort(distances, axis=1)[:, :4], rtol=1e-12)  # fp64 differences
    np.fill_diagonal(among, np.inf)
    np.testing.assert_allclose(found.spacing, among.min(axis=1)[order[:, 0]], rtol=1e-12)
    assert found.memorized == (distances.min(axis=1) < among.min(axis=1)[order[:, 0]]).mean()


def test_what_fp32_cannot_tell_apart_is_decided_in_fp64() -> None:
    rng = np.random.default_rng(4)
    # So far from the origin that the rounding of fp32 is as large as the distances.
    train, gen = (torch.from_numpy(rng.standard_normal((count, 64)) + 1000) for count in (200, 50))
    index, distance = neighbors.nearest(gen, train, 3)
    every, among = cdist(gen, train), cdist(train, train)
    assert index.tolist() == np.argsort(every, axis=1)[:, :3].tolist()
    np.testing.assert_allclose(distance, np.sort(every, axis=1)[:, :3], rtol=1e-12)
    np.testing.assert_allclose(neighbors.radii(train, 2).sqrt(), np.sort(among, axis=1)[:, 2], rtol=1e-12)


def test_all_training_images_can_be_asked_for() -> None:
    train, gen = sets()
    found = training_neighbors(train, gen, k=70)
    assert sorted(found.index[0].tolist()) == list(range(70))


def test_copies_are_all_memorised_and_at_distance_zero() -> None:
    train, _ = sets()
    repeated = np.concatenate([train, train[:10]])  # whose own nearest neighbour is at distance zero too
    found = training_neighbors(repeated, train, k=1)
    assert found.memorized == 1
    assert float(found.distance.max()) == 0


def test_images_far_from_the_training_set_are_not_memorised() -> None:
    train, gen = sets()
    assert training_neighbors(train, gen + 50, k=1).memorized == 0


def test_fresh_samples_of_a_line_are_mutual_neighbours_in_two_thirds() -> None:
    rng = np.random.default_rng(1)
    values = [training_neighbors(rng.random((400, 1)), rng.random((100, 1)), 1).memorized for _ in range(20)]
    assert np.mean(values) == pytest.approx(2 / 3, abs=0.04)  # 2000 draws: 4 standard deviations


def test_torch_and_numpy_features_agree() -> None:
    train, gen = sets()
    one, two = (training_neighbors(a(train), a(gen), 2) for a in (np.asarray, torch.from_numpy))
    assert torch.equal(one.index, two.index)


@pytest.mark.parametrize("k", [0, 71])
def test_impossible_numbers_of_neighbours_are_refused(k: int) -> None:
    with pytest.raises(MetricError) as caught:
        training_neighbors(*sets(), k=k)
    assert str(caught.value) == f"training_neighbors: k is {k}; expected 1 to 70, the number of training images."
