"""Exported files draw what torch draws, at any batch size, and nothing is written otherwise."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.params import Params
from stylegan import export
from stylegan.checkpoint import load_generator, read_class_names
from stylegan.export import ExportError, export_generator
from stylegan.files import sha256_of
from stylegan.networks import Generator, truncate


@pytest.fixture(scope="module")
def conditional(tiny_params: Params) -> Generator:
    return build(tiny_params, c_dim=2)


def build(params: Params, c_dim: int) -> Generator:
    torch.manual_seed(0)
    G = Generator(params.generator, img_resolution=8, img_channels=3, c_dim=c_dim).requires_grad_(False)
    G.mapping.w_avg.normal_()
    for name, parameter in G.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.5)  # so that noise shows
    return G


def draw(G: Generator, z: Tensor, c: Tensor, psi: float) -> Tensor:
    return G.synthesis(truncate(G.mapping(z, c), G.mapping.w_avg, psi), noise_mode="const")


def test_onnx_draws_what_torch_draws(conditional: Generator, tmp_path: Path) -> None:
    import onnxruntime

    path = tmp_path / "G.onnx"
    assert export_generator(conditional, path, "onnx", ["circle", "square"]) < 1e-5
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for num, psi in ((1, 1.0), (3, 0.5), (4, 0.0)):
        z, c = torch.randn(num, 8), torch.eye(2)[torch.arange(num) % 2]
        (img,) = session.run(["img"], {"z": z.numpy(), "c": c.numpy(), "psi": np.array(psi, np.float32)})
        # Two libraries sum the same products in another order.
        torch.testing.assert_close(torch.from_numpy(img), draw(conditional, z, c, psi), atol=1e-5, rtol=1e-5)


def test_a_program_draws_what_torch_draws(tiny_params: Params, tmp_path: Path) -> None:
    G = build(tiny_params, c_dim=0)
    path = tmp_path / "G.pt2"
    assert export_generator(G, path, "torch") < 1e-5
    loaded = torch.export.load(path)
    waiting = ("aten.item", "_local_scalar_dense")  # for a GPU
    assert not [node for node in loaded.graph.nodes if any(name in str(node.target) for name in waiting)]
    program = loaded.module()
    for num, psi in ((1, 1.0), (3, 0.5)):
        z = torch.randn(num, 8)
        # On a CPU the ordinary network filters row by row, the program by convolution.
        torch.testing.assert_close(
            program(z, torch.tensor(psi)), draw(G, z, torch.zeros(num, 0), psi), atol=1e-5, rtol=1e-5
        )


def test_weights_come_with_a_description(conditional: Generator, tmp_path: Path) -> None:
    path = tmp_path / "new/G.safetensors"
    assert export_generator(conditional, path, "safetensors", ["circle", "square"]) == 0
    for name, value in conditional.state_dict().items():
        assert torch.equal(load_generator(path).state_dict()[name], value), name
    assert read_class_names(path) == ["circle", "square"]
    assert json.loads(path.with_name("G.safetensors.json").read_text()) == {
        "format": "safetensors",
        "sha256": sha256_of(path),
        "inputs": {"z": ["N", 8], "c": ["N", 2], "psi": []},
        "output": {"img": ["N", 3, 8, 8], "range": [-1, 1]},
        "class_names": ["circle", "square"],
        "config": conditional.config.model_dump(mode="json"),
        "max_difference": 0,
    }


def test_the_description_knows_height_and_width(tiny_params: Params, tmp_path: Path) -> None:
    G = Generator(tiny_params.generator, img_resolution=(8, 12), img_channels=1, c_dim=0)
    export_generator(G, tmp_path / "G.safetensors", "safetensors")
    described = json.loads((tmp_path / "G.safetensors.json").read_text())
    assert described["output"] == {"img": ["N", 1, 8, 12], "range": [-1, 1]}


def test_the_generator_itself_is_left_alone(tiny_params: Params, tmp_path: Path) -> None:
    G = build(tiny_params, c_dim=0).train().requires_grad_(True)
    export_generator(G, tmp_path / "G.safetensors", "safetensors")
    assert G.training
    assert all(parameter.requires_grad for parameter in G.parameters())


@pytest.mark.parametrize("wrong", [0.01, float("nan")])
def test_a_file_that_draws_something_else_is_not_written(
    conditional: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    loaded = load_generator
    monkeypatch.setattr(export, "load_generator", lambda path: spoilt(loaded(path), wrong))
    path = tmp_path / "G.safetensors"
    with pytest.raises(ExportError, match=r"G\.safetensors: its images differ from torch's by .*, more than 1e-03"):
        export_generator(conditional, path, "safetensors")
    assert list(tmp_path.iterdir()) == []


def spoilt(G: Generator, wrong: float) -> Generator:
    G.synthesis.b8.torgb.bias.add_(wrong)
    return G


@pytest.mark.parametrize("package", ["onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    conditional: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    message = (
        f"ONNX needs a package that cannot be imported (import of {package} halted; None in sys.modules): "
        "pip install 'stylegan2-ada-workflow[export]'"
    )
    with pytest.raises(ExportError, match=f"^{re.escape(message)}$"):
        export_generator(conditional, tmp_path / "G.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []
