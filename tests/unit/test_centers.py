"""Centres of truncation: means of classes, clusters, and which of them a style goes to."""

import re

import numpy as np
import pytest
import torch

from pipelines.params import Params
from stylegan.drawing.centers import class_centers, cluster_centers, k_means, lloyd, mean_styles, truncate_towards
from stylegan.networks import Generator, truncate


def build(params: Params, c_dim: int) -> Generator:
    torch.manual_seed(0)
    return Generator(params.generator, img_resolution=16, img_channels=3, c_dim=c_dim).requires_grad_(False).eval()


def test_a_class_center_is_the_mean_style_of_its_class(tiny_params: Params) -> None:
    G = build(tiny_params, 3)
    centers = class_centers(G, 1500, seed=4)
    z = torch.from_numpy(np.random.RandomState(4).randn(1500, 8)).float()
    expected = [G.mapping(z, torch.eye(3)[k].expand(1500, 3))[:, 0].mean(dim=0) for k in range(3)]
    torch.testing.assert_close(centers, torch.stack(expected))
    assert not torch.allclose(centers[0], centers[1], atol=0.01)


def test_a_mixed_label_has_its_own_mean_style(tiny_params: Params) -> None:
    G = build(tiny_params, 3)
    pure = class_centers(G, 100, seed=0)
    mixed = mean_styles(G, torch.tensor([[0.5, 0.5, 0.0]]), 100, seed=0)
    assert torch.cdist(mixed, pure).min() > 0.01


def test_an_unconditional_generator_has_no_class_centers(tiny_params: Params) -> None:
    message = "this generator is unconditional and has no classes. Truncate towards mean or clusters:K."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        class_centers(build(tiny_params, 0), 10, seed=0)


def blobs(num: int, spread: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    middles = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    return middles, (middles[:, None] + spread * torch.randn(3, num, 2)).flatten(0, 1)


def test_k_means_finds_separate_blobs() -> None:
    middles, x = blobs(200)
    centers = k_means(x, 3, seed=1)
    expected = x.reshape(3, 200, 2).mean(dim=1)
    # A blob's mean is its centre; the order is that of the seeds.
    torch.testing.assert_close(centers[torch.cdist(middles, centers).argmin(dim=1)], expected)


def test_k_means_ends_where_every_center_is_the_mean_of_its_samples() -> None:
    x = torch.randn(300, 4)
    centers = k_means(x, 7, seed=0)
    labels = torch.cdist(x, centers).argmin(dim=1)
    expected = torch.stack([x[labels == k].mean(dim=0) for k in range(7)])
    torch.testing.assert_close(centers, expected)


def test_a_center_without_samples_goes_where_one_is_missing() -> None:
    x = torch.tensor([[0.0], [1.0], [2.0], [90.0]])
    centers = lloyd(x, torch.tensor([[0.5], [-1e6], [-2e6]]))
    assert sorted(centers.flatten().tolist()) in ([0.0, 1.5, 90.0], [0.5, 2.0, 90.0])


def test_samples_that_are_all_alike_are_no_endless_search() -> None:
    assert torch.equal(k_means(torch.ones(5, 2), 3, seed=0), torch.ones(3, 2))


def test_clusters_repeat_with_their_seed_and_only_with_it(tiny_params: Params) -> None:
    G = build(tiny_params, 2)
    first = cluster_centers(G, 400, 5, seed=0)
    assert first.shape == (5, 8)
    assert torch.equal(first, cluster_centers(G, 400, 5, seed=0))
    assert not torch.equal(first, cluster_centers(G, 400, 5, seed=1))


def test_one_cluster_is_the_mean(tiny_params: Params) -> None:
    G = build(tiny_params, 0)
    one = cluster_centers(G, 400, 1, seed=0)
    torch.testing.assert_close(one, mean_styles(G, torch.zeros(1, 0), 400, seed=0))


def test_clusters_of_a_label_lie_in_its_class(tiny_params: Params) -> None:
    G = build(tiny_params, 2)
    label = torch.tensor([[0.0, 1.0]])
    own = cluster_centers(G, 400, 1, seed=0, c=label)
    torch.testing.assert_close(own, mean_styles(G, label, 400, seed=0))


@pytest.mark.parametrize("k", [0, 11])
def test_more_clusters_than_samples_are_refused(tiny_params: Params, k: int) -> None:
    message = f"{k} clusters of 10 samples cannot be. Ask for 1 to 10 clusters, or sample more."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        cluster_centers(build(tiny_params, 0), 10, k, seed=0)


def test_a_style_goes_to_its_nearest_center() -> None:
    ws = torch.tensor([[1.0, 0.0], [0.0, 9.0]])[:, None].expand(2, 4, 2)
    centers = torch.tensor([[0.0, 10.0], [2.0, 0.0]])
    expected = torch.tensor([[1.5, 0.0], [0.0, 9.5]])[:, None].expand(2, 4, 2)
    assert torch.equal(truncate_towards(ws, centers, 0.5), expected)


def test_one_center_is_ordinary_truncation() -> None:
    ws, center = torch.randn(3, 6, 8), torch.randn(1, 8)
    for cutoff in (None, 2):
        assert torch.equal(truncate_towards(ws, center, 0.7, cutoff), truncate(ws, center[0], 0.7, cutoff))


def test_psi_zero_leaves_only_the_centers_and_psi_one_everything() -> None:
    ws, centers = torch.randn(30, 6, 8), torch.randn(4, 8)
    at_zero = truncate_towards(ws, centers, 0)
    assert {tuple(w.tolist()) for w in at_zero.flatten(0, 1)} <= {tuple(w.tolist()) for w in centers}
    assert torch.equal(truncate_towards(ws, centers, 1), ws)
