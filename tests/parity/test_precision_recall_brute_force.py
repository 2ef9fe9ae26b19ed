"""Precision, recall, density and coverage against all distances at once, and on sets whose answer is known."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stylegan.metrics import membership, neighbors, precision_recall
from stylegan.metrics.arrays import MetricError

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


@pytest.mark.parametrize("k", [1, 3, 10])
def test_density_and_coverage_are_those_of_all_distances_at_once(k: int) -> None:
    real, gen = sets()
    reach = np.sort(cdist(real, real), axis=1)[:, k]
    held = cdist(gen, real) <= reach  # Naeem et al. 2020, Eq. 3-4
    found = membership(real, gen, k)
    assert found.density == pytest.approx(held.sum() / (k * len(gen)), rel=1e-14)  # counts; one division
    assert found.coverage == held.any(axis=0).mean()


@pytest.mark.parametrize("tile", [1, 16, 45, 1000])
def test_tiles_do_not_change_the_values(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, whole = brute_force(*sets(), 3), membership(*sets(), 3)
    monkeypatch.setattr(neighbors, "TILE", tile)
    found = membership(*sets(), 3)
    assert (found.precision, found.recall) == expected
    assert torch.equal(found.gen_balls, whole.gen_balls)
    assert torch.equal(found.real_covered, whole.real_covered)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_values_of_rounded_features_are_exact_too(dtype: type) -> None:
    real, gen = (x.astype(dtype) for x in sets())
    assert precision_recall(real, gen) == brute_force(real.astype(np.float64), gen.astype(np.float64), 3)


@pytest.mark.parametrize("few", [0, 8, 1000])
def test_what_fp32_cannot_tell_apart_is_decided_in_fp64(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "FEW", few)  # of a tile whole, or distance by distance
    rng = np.random.default_rng(4)
    # A far sample makes the rounding of fp32 as large as the distances between the others.
    real, gen = (np.concatenate([rng.standard_normal((n, 64)), np.full((1, 64), 1e4)]) for n in (150, 100))
    assert precision_recall(real + 1000, gen + 1000) == brute_force(real, gen, 3)


def test_no_tile_is_larger_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "TILE", 16)
    real, gen = (torch.from_numpy(x) for x in sets())
    shapes = [tuple(tile.shape) for _, _, tile in neighbors.squared_distances(real, gen)]
    assert shapes == [*[(16, 16), (16, 16), (16, 13)] * 4, (6, 16), (6, 16), (6, 13)]


def test_a_distance_that_equals_the_radius_counts_whatever_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    # Generated images that copy real ones lie exactly on the balls that reach to those.
    real = np.random.default_rng(3).standard_normal((40, 50)) * 100
    distances = cdist(real, real)
    held = distances <= np.sort(distances, axis=1)[:, 3]
    for tile in (7, 64):
        monkeypatch.setattr(neighbors, "TILE", tile)
        assert membership(real, real.copy(), 3).gen_balls.tolist() == held.sum(axis=1).tolist()


class LargestTensor(TorchDispatchMode):
    """Number of values in the largest tensor that any operation returned."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.numel = max([self.numel, *(x.numel() for x in tree_leaves(out) if isinstance(x, Tensor))])
        return out


def test_memory_does_not_grow_with_the_product_of_the_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "TILE", 64)
    real, gen = (torch.from_numpy(np.random.default_rng(seed).standard_normal((500, 4))) for seed in (4, 5))
    with LargestTensor() as seen:
        membership(real, gen, 3)
    assert seen.numel == 64 * 64  # of 500 * 500


def test_density_of_one_distribution_is_about_one() -> None:
    real, gen = (np.random.default_rng(seed).standard_normal((1500, 3)) for seed in (6, 7))
    found = membership(real, gen, 5)
    assert found.density == pytest.approx(1, abs=0.1)  # its expectation (Naeem et al. 2020, Lemma 1), 4 deviations
    assert found.coverage == pytest.approx(1 - 0.5**5, abs=0.02)  # Lemma 2: 1 - (N-1)..(N-k) / (2N-1)..(2N-k)


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
