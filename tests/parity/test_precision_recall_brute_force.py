"""Precision and recall against all distances at once, and on sets whose answer is known."""

import importlib

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.spatial.distance import cdist

from stylegan.metrics import precision_recall
from stylegan.metrics.arrays import MetricError

# The package exports the function under the name of its module.
module = importlib.import_module("stylegan.metrics.precision_recall")


Array = npt.NDArray[np.float64]


def brute_force(real: Array, gen: Array, k: int) -> tuple[float, float]:
    def share_inside(queries: Array, manifold: Array) -> float:
        reach = np.sort(cdist(manifold, manifold), axis=1)[:, k]  # column 0 is the sample itself
        return float((cdist(queries, manifold) <= reach).any(axis=1).mean())

    return share_inside(gen, real), share_inside(real, gen)


def sets() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((70, 6)) + 100, rng.standard_normal((45, 6)) * 0.7 + 100.5


@pytest.mark.parametrize("k", [1, 3, 10])
def test_values_are_those_of_all_distances_at_once(k: int) -> None:
    assert precision_recall(*sets(), k=k) == brute_force(*sets(), k)  # counts: exact


@pytest.mark.parametrize("block_rows", [1, 16, 45, 1000])
def test_blocks_do_not_change_the_values(block_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = brute_force(*sets(), 3)
    monkeypatch.setattr(module, "BLOCK_ROWS", block_rows)
    assert precision_recall(*sets(), k=3) == expected


def test_no_block_is_larger_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_ROWS", 16)
    real, gen = (torch.from_numpy(x) for x in sets())
    shapes = [tuple(block.shape) for _, block in module._squared_distances(real, gen)]
    assert shapes == [(16, 45)] * 4 + [(6, 45)]


def test_the_same_images_have_full_precision_and_recall() -> None:
    real, _ = sets()
    assert precision_recall(real, real) == (1, 1)


def test_distant_images_have_none() -> None:
    real, gen = sets()
    assert precision_recall(real, gen + 1000) == (0, 0)


def test_recall_sees_mode_collapse_where_precision_does_not() -> None:
    real, _ = sets()
    collapsed = np.repeat(real[:5], 20, axis=0) + np.random.default_rng(1).standard_normal((100, 6)) * 1e-3
    precision, recall = precision_recall(real, collapsed)
    assert precision == 1
    assert recall <= 5 / 70


def test_repeated_images_lie_on_their_own_manifold() -> None:
    # Radii are 0, so the distance of an image to its copy in the other set must not be rounded up.
    images = np.random.default_rng(2).standard_normal((9, 50)) * 1000
    real, gen = np.repeat(images, 8, axis=0), np.repeat(images, 5, axis=0)
    assert precision_recall(real, gen) == (1, 1)


@pytest.mark.parametrize(
    ("k", "num_gen", "message"),
    [
        (0, 10, "precision_recall: k is 0; at least 1 neighbour is needed. Raise evaluate.pr_neighbors."),
        (
            3,
            3,
            "precision_recall: 70 real and 3 generated samples; at least 4 of each are needed. "
            "Raise evaluate.num_images, or add images to the archive.",
        ),
    ],
)
def test_unfit_neighbourhoods_are_refused(k: int, num_gen: int, message: str) -> None:
    real, gen = sets()
    with pytest.raises(MetricError) as caught:
        precision_recall(real, gen[:num_gen], k=k)
    assert str(caught.value) == message
