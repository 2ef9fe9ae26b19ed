"""Directions in w: orthonormal, equal to NumPy's where NumPy has them, and that of a network built to have one."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.params import Params
from stylegan.analysis.directions import (
    affine_weights,
    factorize_affine,
    move,
    principal_components,
    spreads,
    vary,
)
from stylegan.drawing.generate import styles
from stylegan.networks import Generator

EXACT = {"rtol": 0, "atol": 1e-5}  # computed in float64, returned in float32


@pytest.fixture
def G(tiny_params: Params) -> Generator:
    return Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0).eval().requires_grad_(False)


@pytest.fixture
def w(G: Generator) -> Tensor:
    return styles(G, range(200))[:, 0]


def test_directions_are_orthonormal_and_the_strongest_come_first(G: Generator, w: Tensor) -> None:
    for found in (principal_components(w, 5), factorize_affine(G, 5)):
        torch.testing.assert_close(found.axes @ found.axes.t(), torch.eye(5), **EXACT)
        assert found.shares.tolist() == sorted(found.shares.tolist(), reverse=True)
        assert 0 < float(found.shares.sum()) <= 1
        largest = found.axes.abs().argmax(dim=1, keepdim=True)
        assert (found.axes.gather(1, largest) > 0).all()


def test_the_variance_along_principal_components_is_numpys(w: Tensor) -> None:
    found = principal_components(w, 8)
    values = np.linalg.eigvalsh(np.cov(w.double().numpy(), rowvar=False, bias=True))[::-1]
    np.testing.assert_allclose(found.shares.numpy(), values / values.sum(), atol=1e-6)
    np.testing.assert_allclose(spreads(w, found.axes).numpy(), np.sqrt(values), rtol=1e-4)


def test_a_network_that_reads_one_direction_of_w_has_that_one(G: Generator) -> None:
    wanted = torch.nn.functional.normalize(torch.arange(1.0, G.w_dim + 1), dim=0)
    for res in G.synthesis.block_resolutions:
        for affine in getattr(G.synthesis, f"b{res}").affines:
            affine.weight.data = torch.randn(len(affine.weight), 1) * wanted
    found = factorize_affine(G, 2)
    torch.testing.assert_close(found.axes[0], wanted, **EXACT)
    assert found.shares.tolist() == [pytest.approx(1), pytest.approx(0, abs=1e-6)]


def test_a_unit_step_changes_styles_most_along_the_first_direction(G: Generator) -> None:
    A = affine_weights(G, range(G.num_ws))
    found = factorize_affine(G, G.w_dim)
    changes = (A @ found.axes.t()).square().sum(dim=0)
    torch.testing.assert_close(changes / changes.sum(), found.shares, **EXACT)
    others = torch.nn.functional.normalize(torch.randn(100, G.w_dim), dim=1)
    assert float((A @ others.t()).square().sum(dim=0).max()) <= float(changes[0]) + 1e-6


@pytest.mark.parametrize("architecture", ["skip", "resnet"])
@pytest.mark.parametrize("style_block", ["demodulation", "adain"])
def test_layers_are_those_that_read_that_w(
    architecture: str, style_block: str, make_params: Callable[..., Params]
) -> None:
    config = make_params(f"generator.architecture={architecture}", f"generator.style_block={style_block}").generator
    G = Generator(config, img_resolution=16, img_channels=3, c_dim=0).eval().requires_grad_(False)
    ws = torch.randn(1, G.num_ws, G.w_dim)
    whole = sum(len(affine_weights(G, [layer])) for layer in range(G.num_ws) if reads(G, ws, layer))
    assert whole == len(affine_weights(G, range(G.num_ws)))


def reads(G: Generator, ws: Tensor, layer: int) -> bool:
    """Whether the w of a layer changes the image, and does so along the rows alone that affine_weights finds for it"""

    def image(axis: Tensor) -> Tensor:
        moved: Tensor = G.synthesis(move(ws, axis[None], torch.tensor([3.0]), [layer]), noise_mode="const")
        return moved

    rows, before = affine_weights(G, [layer]), G.synthesis(ws, noise_mode="const")
    if len(rows) < G.w_dim:
        unseen = torch.linalg.svd(rows)[2][-1]
        torch.testing.assert_close(image(unseen), before, rtol=0, atol=1e-4)
    return not torch.equal(image(factorize_affine(G, 1, [layer]).axes[0]), before)


def test_layers_that_make_no_style_are_refused(G: Generator) -> None:
    with pytest.raises(ValueError, match=r"^no style is made from layers \[99\]; choose from 0 to 5$"):
        affine_weights(G, [99])


def test_a_growing_network_has_directions_of_the_layers_in_use(make_params: Callable[..., Params]) -> None:
    config = make_params().generator
    G = Generator(config, img_resolution=16, img_channels=3, c_dim=0, level=1.0).requires_grad_(False)
    assert len(affine_weights(G, range(G.num_ws))) == len(affine_weights(G, range(G.synthesis.num_ws_used)))


def test_moving_adds_steps_in_the_chosen_layers_alone(w: Tensor, G: Generator) -> None:
    ws, axes = styles(G, [0]), principal_components(w, 2).axes
    moved = move(ws, axes, torch.tensor([2.0, -1.0]), [1, 3])
    change = (moved - ws)[0]
    torch.testing.assert_close(change[1], 2 * axes[0] - axes[1], **EXACT)
    torch.testing.assert_close(change[3], change[1], **EXACT)
    assert not change[[0, 2, 4, 5]].any()


def test_variations_begin_at_the_image_and_end_at_others(G: Generator) -> None:
    ws, others, center = styles(G, [0]), styles(G, [1, 2]), torch.randn(G.w_dim)
    torch.testing.assert_close(vary(ws, others, center, 0.0), ws.expand(2, -1, -1), **EXACT)
    torch.testing.assert_close(vary(ws, others, center, 1.0), others, **EXACT)


def test_variations_keep_the_spread_of_w(w: Tensor) -> None:
    found = vary(w[:100, None], w[100:, None], w.mean(dim=0), 0.6)[:, 0]
    before, after = (x.var(dim=0).sum() for x in (w, found))
    assert float(after / before) == pytest.approx(1, abs=0.15)  # 100 samples; the mean of the two would be at 0.5
