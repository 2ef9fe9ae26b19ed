"""stylegan.networks.generator: sizes, styles, noise, labels."""

from collections.abc import Callable

import pytest
import torch

from pipelines.params import Params
from stylegan.config.pyramid import Resolution, sides
from stylegan.loss import r1_penalty
from stylegan.networks import Discriminator, Generator

Make = Callable[..., Params]


def generator(params: Params, img_resolution: Resolution = 16, c_dim: int = 0, **kwargs: torch.dtype) -> Generator:
    torch.manual_seed(0)
    G = Generator(params.generator, img_resolution=img_resolution, img_channels=3, c_dim=c_dim, **kwargs)
    return G.eval().requires_grad_(False)


def latents(n: int, c_dim: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(1)
    return torch.randn(n, 8, generator=source), torch.eye(n, c_dim)


def noisy(G: Generator) -> Generator:
    """Noise strengths start at 0; raise them as training does."""
    for name, strength in G.named_parameters():
        if name.endswith("noise_strength"):
            strength.data.fill_(0.5)
    return G


@pytest.mark.parametrize("architecture", ["orig", "skip", "resnet"])
@pytest.mark.parametrize(("img_resolution", "num_ws"), [(8, 4), (32, 8), (36, 6), ((24, 40), 6)])
def test_two_styles_a_resolution(img_resolution: Resolution, num_ws: int, architecture: str, make_params: Make) -> None:
    G = generator(make_params(f"generator.architecture={architecture}"), img_resolution)
    assert G.num_ws == num_ws
    img = G(*latents(2))
    assert img.shape == (2, 3, *sides(img_resolution))
    assert img.dtype == torch.float32


def test_blocks_have_the_official_names_at_the_sizes_of_the_image(make_params: Make) -> None:
    """The base of 24 x 40 is 6 x 10, and channels are counted by the longer side: 80 // 10, 80 // 20, 80 // 40."""
    G = generator(make_params("generator.channel_base=80", "generator.channel_max=64"), (24, 40))
    shapes = {name: tuple(tensor.shape) for name, tensor in G.synthesis.state_dict().items()}
    assert shapes["b4.const"] == (8, 6, 10)
    noise = {name: shape for name, shape in shapes.items() if name.endswith("noise_const")}
    assert noise == {
        "b4.conv1.noise_const": (6, 10),
        "b8.conv0.noise_const": (12, 20), "b8.conv1.noise_const": (12, 20),
        "b16.conv0.noise_const": (24, 40), "b16.conv1.noise_const": (24, 40),
    }  # fmt: skip
    assert [shapes[f"b{res}.conv1.weight"][:2] for res in (4, 8, 16)] == [(8, 8), (4, 4), (2, 2)]


def test_transposing_the_image_needs_only_transposed_weights(tiny_params: Params) -> None:
    wide, tall = generator(tiny_params, (16, 24)), generator(tiny_params, (24, 16))
    weights = {
        name: tensor.transpose(-2, -1) if tensor.ndim in (3, 4) or name.endswith("noise_const") else tensor
        for name, tensor in wide.state_dict().items()
    }
    tall.load_state_dict(weights)
    noisy(wide), noisy(tall)
    img = wide(*latents(2), noise_mode="const").transpose(2, 3)
    torch.testing.assert_close(tall(*latents(2), noise_mode="const"), img, rtol=1e-4, atol=1e-5)  # fp32 sums


def test_a_mapping_of_no_layers_is_z_itself(make_params: Make) -> None:
    G = generator(make_params("generator.mapping_layers=0"))
    z, c = latents(2)
    torch.testing.assert_close(G.mapping(z, c)[:, 0].square().mean(dim=1), torch.ones(2))
    with pytest.raises(ValueError, match="no layers") as caught:
        generator(make_params("generator.mapping_layers=0"), c_dim=2)
    assert str(caught.value) == (
        "a mapping network of no layers gives 16 numbers, z and the label's embedding, but w has 8. "
        "Set generator.mapping_layers to at least 1."
    )


@pytest.mark.parametrize("architecture", ["orig", "skip", "resnet"])
def test_no_device_is_hard_coded(architecture: str, make_params: Make) -> None:
    """On the meta device a tensor made elsewhere is an error."""
    params = make_params(f"generator.architecture={architecture}", f"discriminator.architecture={architecture}")
    with torch.device("meta"):
        G = Generator(params.generator, img_resolution=(16, 24), img_channels=3, c_dim=2)
        D = Discriminator(params.discriminator, img_resolution=(16, 24), img_channels=3, c_dim=2)
    z, c = torch.randn(4, 8, device="meta"), torch.randn(4, 2, device="meta")
    for noise_mode in ("random", "const", "none"):
        img = G(z, c, psi=0.7, cutoff=2, noise_mode=noise_mode)
        assert (img.device.type, img.shape) == ("meta", (4, 3, 16, 24))
        logits = D(img, c)
        assert (logits.device.type, logits.shape) == ("meta", (4, 1))
    G.mapping.track_w_avg(G.mapping(z, c)[:, 0].mean(dim=0), 0.9)
    r1_penalty(D(img.requires_grad_(), c), img).sum().backward()
    assert {p.grad.device.type for p in D.parameters() if p.grad is not None} == {"meta"}


def test_image_does_not_depend_on_the_others_of_its_batch(tiny_params: Params) -> None:
    G = noisy(generator(tiny_params, c_dim=2))
    z, c = latents(4, c_dim=2)
    together = G(z, c, noise_mode="const")
    for n in range(4):
        alone = G(z[n : n + 1], c[n : n + 1], noise_mode="const")
        torch.testing.assert_close(together[n : n + 1], alone, rtol=1e-5, atol=1e-5)  # other blocking of fp32 sums


def test_noise_does_nothing_before_training(tiny_params: Params) -> None:
    G, (z, c) = generator(tiny_params), latents(2)
    expected = G(z, c, noise_mode="none")
    assert torch.equal(G(z, c, noise_mode="const"), expected)
    assert torch.equal(G(z, c, noise_mode="random"), expected)


def test_constant_noise_repeats_and_random_noise_does_not(tiny_params: Params) -> None:
    G, (z, c) = noisy(generator(tiny_params)), latents(2)
    constant, none = G(z, c, noise_mode="const"), G(z, c, noise_mode="none")
    assert torch.equal(constant, G(z, c, noise_mode="const"))
    assert not torch.equal(constant, none)
    assert not torch.equal(G(z, c, noise_mode="random"), G(z, c, noise_mode="random"))


def test_random_noise_differs_between_equal_latents(tiny_params: Params) -> None:
    G, (z, c) = noisy(generator(tiny_params)), latents(1)
    img = G(z.expand(2, -1), c.expand(2, -1), noise_mode="random")
    assert not torch.equal(img[0], img[1])


def test_label_changes_the_image(tiny_params: Params) -> None:
    G = generator(tiny_params, c_dim=2)
    z, c = latents(1)[0].expand(2, -1), torch.eye(2)
    img = G(z, c, noise_mode="const")
    assert not torch.equal(img[0], img[1])


def test_psi_and_cutoff_truncate_the_styles(tiny_params: Params) -> None:
    G, (z, c) = generator(tiny_params), latents(2)
    G.mapping.w_avg.normal_()
    ws = torch.cat([G.mapping.w_avg.expand(2, 3, -1), G.mapping(z, c)[:, 3:]], dim=1)
    expected = G.synthesis(ws, noise_mode="const")
    torch.testing.assert_close(G(z, c, psi=0, cutoff=3, noise_mode="const"), expected)


@pytest.mark.parametrize("layer", range(6))
def test_every_style_is_used(layer: int, tiny_params: Params) -> None:
    G = generator(tiny_params)
    ws = torch.randn(1, 6, 8)
    changed = ws.clone()
    changed[:, layer] += 1
    assert not torch.equal(G.synthesis(ws, noise_mode="const"), G.synthesis(changed, noise_mode="const"))


def test_reduced_precision_stays_inside(tiny_params: Params) -> None:
    z, c = latents(2)
    exact = generator(tiny_params)(z, c, noise_mode="none")
    rounded = generator(tiny_params, dtype=torch.bfloat16)(z, c, noise_mode="none")
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    # Three blocks of bf16, which keeps 8 bits of every value.
    assert (rounded - exact).abs().max() < 0.05 * exact.abs().max()
