"""stylegan.analysis.contributions: contributions of resolutions, and the bands of a pyramid, in one measure."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipelines.params import Params
from stylegan.analysis.contributions import band_energies, layer_contributions, pyramid, rgb_layers, to_full_resolution
from stylegan.networks import Generator

Make = Callable[..., Params]
RESOLUTIONS = [4, 8, 16]


def generator(params: Params) -> Generator:
    torch.manual_seed(0)
    G = Generator(params.generator, img_resolution=16, img_channels=3, c_dim=0)
    for block in (G.synthesis.b4, G.synthesis.b8, G.synthesis.b16):
        block.conv1.noise_strength.data.fill_(0.1)
    return G.eval()


@pytest.fixture
def G(tiny_params: Params) -> Generator:
    return generator(tiny_params)


@pytest.fixture
def ws(G: Generator) -> Tensor:
    z = torch.randn(12, 8, generator=torch.Generator().manual_seed(1))
    # Another style for every layer, so that a layer which takes another's would be noticed.
    return G.mapping(z, torch.zeros(12, 0)).detach() + torch.randn(12, 6, 8, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("noise_mode", ["const", "none"])
def test_the_layers_sum_to_the_image(G: Generator, ws: Tensor, noise_mode: str) -> None:
    layers = rgb_layers(G, ws, noise_mode)  # type: ignore[arg-type]
    assert [layer.shape[2] for layer in layers] == RESOLUTIONS
    image = G.synthesis(ws, noise_mode=noise_mode)
    # The same additions in another order.
    torch.testing.assert_close(sum(to_full_resolution(layers)), image, rtol=1e-5, atol=1e-5)


def test_contributions_are_the_deviations_that_the_image_loses_with_a_layer(G: Generator, ws: Tensor) -> None:
    """Measured on images with and without the layer, whose colours are switched off."""
    image, deviations = G.synthesis(ws, noise_mode="const"), []
    for res in RESOLUTIONS:
        torgb = getattr(G.synthesis, f"b{res}").torgb
        weight, bias = torgb.weight.detach().clone(), torgb.bias.detach().clone()
        torgb.weight.data.zero_()
        torgb.bias.data.zero_()
        missing = image - G.synthesis(ws, noise_mode="const")
        deviations.append(missing.var(dim=(0, 2, 3), correction=0).mean().sqrt().item())
        torgb.weight.data.copy_(weight)
        torgb.bias.data.copy_(bias)
    expected = {res: 100 * std / sum(deviations) for res, std in zip(RESOLUTIONS, deviations, strict=True)}
    found = layer_contributions(G, ws, batch_size=12)
    assert found == pytest.approx(expected, rel=1e-4)  # differences of fp32 images
    assert sum(found.values()) == pytest.approx(100)


def test_contributions_do_not_depend_on_the_batches(G: Generator, ws: Tensor) -> None:
    whole = layer_contributions(G, ws, batch_size=12)
    assert layer_contributions(G, ws, batch_size=5) == pytest.approx(whole, rel=1e-5)  # other blocking of fp32 sums


def test_a_constant_colour_contributes_nothing(G: Generator, ws: Tensor) -> None:
    before = layer_contributions(G, ws, batch_size=12)
    # Of the highest resolution: the others' upsampling darkens a colour towards the border, beyond which are zeros.
    G.synthesis.b16.torgb.bias.data.copy_(torch.tensor([50.0, -30.0, 10.0]))
    assert layer_contributions(G, ws, batch_size=12) == pytest.approx(before, rel=1e-4)


@pytest.mark.parametrize("architecture", ["orig", "resnet"])
def test_a_generator_without_a_sum_over_resolutions_is_refused(architecture: str, make_params: Make) -> None:
    G = Generator(
        make_params(f"generator.architecture={architecture}").generator, img_resolution=16, img_channels=3, c_dim=0
    )
    with pytest.raises(ValueError, match="not defined") as caught:
        layer_contributions(G, torch.zeros(1, 6, 8), batch_size=1)
    assert str(caught.value) == (
        f"layer contributions are not defined for generator.architecture {architecture}: it turns features into "
        "colours once, at the highest resolution, so its image is not a sum over resolutions. Contributions need "
        "skip; the band energies of its images can be compared with real ones in any case."
    )


@pytest.mark.parametrize("size", [(16, 16), (24, 16), (20, 12)])
def test_the_bands_of_a_pyramid_sum_to_the_image(size: tuple[int, int]) -> None:
    img = torch.randn(2, 3, *size, dtype=torch.float64)
    bands = pyramid(img, 3)
    assert [band.shape[2] for band in bands] == [size[0] // 4, size[0] // 2, size[0]]
    torch.testing.assert_close(sum(to_full_resolution(bands)), img)


def test_a_picture_that_is_large_shapes_lies_in_low_bands_and_a_chequerboard_in_the_highest() -> None:
    x = torch.linspace(0, torch.pi, 16)
    smooth = (x.sin()[:, None] * x.sin()).expand(2, 3, -1, -1)  # 0 at the border, as it is beyond
    fine = ((torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1).expand(2, 3, -1, -1)
    low, high = band_energies([smooth], RESOLUTIONS), band_energies([fine], RESOLUTIONS)
    assert low[4] > 50 > 20 > low[16]
    assert high[16] > 90
    for shares in (low, high):
        assert sum(shares.values()) == pytest.approx(100)


def test_bands_do_not_depend_on_the_batches_nor_on_contrast() -> None:
    img = torch.randn(6, 1, 16, 16, generator=torch.Generator().manual_seed(0)).cumsum(dim=3) / 4
    whole = band_energies([img], RESOLUTIONS)
    assert band_energies([img[:1], img[1:]], RESOLUTIONS) == pytest.approx(whole, rel=1e-5)
    assert band_energies([img * 3], RESOLUTIONS) == pytest.approx(whole, rel=1e-5)


def test_contributions_take_no_gradients_and_draw_no_numbers(G: Generator, ws: Tensor) -> None:
    before = torch.get_rng_state()
    layer_contributions(G, ws, batch_size=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in G.parameters())
