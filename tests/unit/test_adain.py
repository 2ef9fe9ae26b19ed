"""stylegan.networks.adain: StyleGAN's style block, within the generator."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipelines.params import Params
from stylegan.checkpoint import load_generator, save_generator
from stylegan.export import OPSET, _quiet
from stylegan.networks import Generator
from stylegan.networks.adain import AdaInLayer, adain

Make = Callable[..., Params]
ADAIN = "generator.style_block=adain"


def generator(params: Params, dtype: torch.dtype = torch.float32) -> Generator:
    torch.manual_seed(0)
    G = Generator(params.generator, img_resolution=16, img_channels=3, c_dim=0, dtype=dtype)
    for name, param in G.named_parameters():
        if name.endswith("noise_strength"):  # they start at 0; raise them as training does
            param.data.fill_(0.5)
    return G.eval().requires_grad_(False)


def test_styles_give_each_map_its_mean_and_deviation_before_the_next_convolution(make_params: Make) -> None:
    G = generator(make_params(ADAIN))
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    for module in G.modules():
        if isinstance(module, AdaInLayer):
            module.register_forward_hook(lambda _, inputs, out: seen.append((inputs[1], out)))
    G(torch.randn(2, 8))
    assert len(seen) == G.num_ws == 6
    for styles, out in seen:
        scale, shift = styles.chunk(2, dim=1)
        torch.testing.assert_close(out.mean(dim=(2, 3)), shift, rtol=1e-4, atol=1e-5)  # fp32
        torch.testing.assert_close(out.std(dim=(2, 3), correction=0), scale.abs(), rtol=1e-4, atol=1e-4)


def test_each_style_has_a_layer_of_its_own_and_the_constant_the_first(make_params: Make) -> None:
    G = generator(make_params(ADAIN))
    ws = torch.randn(1, 6, 8)
    layers = ("b4.style", "b4.conv1", "b8.conv0", "b8.conv1", "b16.conv0", "b16.conv1")
    seen: dict[str, torch.Tensor] = {}
    for name in layers:
        G.synthesis.get_submodule(name).register_forward_hook(
            lambda m, inputs, out, name=name: seen.update({name: inputs[1]})
        )
    G.synthesis(ws, noise_mode="const")
    for index, name in enumerate(layers):
        assert torch.equal(seen[name], G.synthesis.get_submodule(name).affine(ws[:, index])), name


def test_a_fresh_block_begins_as_published(make_params: Make) -> None:
    G = Generator(make_params(ADAIN).generator, img_resolution=16, img_channels=3, c_dim=0)
    layer = G.synthesis.b8.conv0
    assert (G.synthesis.b4.const == 1).all()
    assert layer.affine.bias.tolist() == [1] * 4 + [0] * 4
    assert layer.noise_strength.tolist() == layer.bias.tolist() == [0] * 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision_draws_nearly_the_same(dtype: torch.dtype, make_params: Make) -> None:
    params = make_params(ADAIN, "generator.conv_clamp=256", "generator.architecture=orig")
    z = torch.randn(2, 8)
    exact, rounded = (generator(params, dtype=d)(z, noise_mode="const") for d in (torch.float32, dtype))
    assert rounded.dtype == torch.float32
    error = (rounded - exact).abs().max() / exact.abs().max()
    assert 0 < error < 0.05  # 8 bits of mantissa in bf16


def test_maps_of_equal_pixels_are_exported_as_they_are_computed(tmp_path: Path) -> None:
    """The optimiser of the exporter takes an epsilon of 1e-8 for 0 and drops it."""
    import onnxruntime

    class Adain(torch.nn.Module):
        def forward(self, x: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
            return adain(x, styles)

    x, styles = torch.full((2, 3, 4, 4), 0.5), torch.randn(2, 6)
    with _quiet():
        program = torch.onnx.export(Adain(), (x, styles), dynamo=True, opset_version=OPSET, verbose=False)
    assert program is not None
    program.save(str(tmp_path / "adain.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "adain.onnx"), providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {"x": x.numpy(), "styles": styles.numpy()})
    torch.testing.assert_close(torch.from_numpy(out), adain(x, styles))


def test_a_file_older_than_the_style_block_is_a_generator_with_demodulation(make_params: Make, tmp_path: Path) -> None:
    G = generator(make_params())
    older = G.config.model_dump(mode="json")
    del older["style_block"]
    G.config = type("Older", (), {"model_dump": lambda self, mode: older})()  # type: ignore[assignment]
    save_generator(G, tmp_path / "G")
    loaded = load_generator(tmp_path / "G")
    assert loaded.config.style_block == "demodulation"
    z = torch.randn(2, 8)
    assert torch.equal(loaded(z, noise_mode="const"), G(z, noise_mode="const"))
