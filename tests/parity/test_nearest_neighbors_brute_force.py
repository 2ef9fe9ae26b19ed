"""Nearest neighbours and nearest training images against all distances at once."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.spatial.distance import cdist

from stylegan.metrics import neighbors, training_neighbors
from stylegan.metrics.memorization import COPY, NEIGHBORS, among_others

Array = npt.NDArray[np.float64]
SIZE = 3 * 8 * 8


def sets() -> tuple[torch.Tensor, torch.Tensor]:
    """Thumbnails: the last training images are alike but for a mirror and a little noise"""
    draw = torch.Generator().manual_seed(0)
    train, gen = (torch.randn(count, 3, 8, 8, generator=draw) for count in (60, 45))
    alike = train[:10].flip(3) + 0.1 * torch.randn(10, 3, 8, 8, generator=draw)
    gen[:5] = train[:5] + 0.2 * torch.randn(5, 3, 8, 8, generator=draw)
    return torch.cat([train, alike]), gen


def distances(queries: torch.Tensor, train: torch.Tensor) -> Array:
    """Root mean square differences to the training images or their mirror images, whichever is nearer"""
    straight, mirrored = (cdist(queries.flatten(1), x.flatten(1)) for x in (train, train.flip(3)))
    return np.minimum(straight, mirrored) / np.sqrt(SIZE)


def spacing_of(among: Array, row: int, without: int | None = None) -> float:
    others = [other for other in range(len(among)) if other not in (row, without)]
    return float(np.sort(among[row, others])[NEIGHBORS - 1])


@pytest.mark.parametrize("tile", [7, 16, 1000])
def test_neighbours_are_those_of_all_distances_at_once(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    train, gen = sets()
    monkeypatch.setattr(neighbors, "TILE", tile)
    found = training_neighbors(train, gen, k=4)
    every, among = distances(gen, train), distances(train, train)
    order = np.argsort(every, axis=1)[:, :4]
    assert found.index.tolist() == order.tolist()
    np.testing.assert_allclose(found.distance, np.sort(every, axis=1)[:, :4], rtol=1e-12)  # fp64 differences
    spacing = np.array([spacing_of(among, int(row)) for row in order[:, 0]])
    np.testing.assert_allclose(found.spacing, spacing, rtol=1e-12)
    assert found.memorized == (every.min(axis=1) <= COPY * spacing).mean()


def test_the_yardstick_is_each_training_image_against_all_others() -> None:
    train, _ = sets()
    found, among = among_others(train), distances(train, train)
    np.fill_diagonal(among, np.inf)
    closest = among.argmin(axis=1)
    assert found.index[:, 0].tolist() == closest.tolist()
    np.testing.assert_allclose(found.distance[:, 0], among.min(axis=1), rtol=1e-12)
    spacing = [spacing_of(among, int(near), without=row) for row, near in enumerate(closest)]
    np.testing.assert_allclose(found.spacing, spacing, rtol=1e-12)
    assert found.memorized == 20 / 70  # those that are alike


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
