"""A generator for other runtimes: safetensors, ONNX, torch.export. A file appears only once it draws what torch draws.

Inputs z [N, z_dim], c [N, c_dim] when conditional, psi []; output img [N, C, H, W] in [-1, 1]; any N. The noise is the
constant one. Beside each FILE lies FILE.json: inputs, output, class names, configuration, and the difference measured.
"""

import copy
import importlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from stylegan.checkpoint import load_generator, save_generator
from stylegan.config.pyramid import sides
from stylegan.files import replacing, sha256_of, write_json
from stylegan.networks import Generator
from stylegan.text import OneLineError

Format = Literal["safetensors", "onnx", "torch"]
Inputs: TypeAlias = tuple[Tensor, ...]
Draw: TypeAlias = Callable[[Inputs], Tensor]
EXTRA = "stylegan2-ada-workflow[export]"
OPSET = 20  # of ONNX; read by onnxruntime from 1.17 on
CHECKED = ((1, 1.0), (2, 0.7), (5, -0.5))  # batch sizes and psi of the comparison with torch
# An eighth of a step of 8 bits, next to the largest value; sums in another order differ by far less.
TOLERANCE = 1e-3


class ExportError(OneLineError):
    """A generator cannot be exported, or the exported file draws something else; the message says what to do."""


class _Unconditional(nn.Module):
    """z [N, z_dim], psi [] -> img"""

    def __init__(self, G: Generator) -> None:
        super().__init__()
        self.G = G

    def forward(self, z: Tensor, psi: Tensor) -> Tensor:
        return self._draw(z, z[:, :0], psi)

    def _draw(self, z: Tensor, c: Tensor, psi: Tensor) -> Tensor:
        # Not `truncate`: psi is an input of the exported file, and a graph has no branches for its values.
        ws = self.G.mapping.w_avg.lerp(self.G.mapping(z, c), psi)
        img: Tensor = self.G.synthesis(ws, noise_mode="const")
        return img


class _Conditional(_Unconditional):
    """z [N, z_dim], c [N, c_dim], psi [] -> img"""

    def forward(self, z: Tensor, c: Tensor, psi: Tensor) -> Tensor:  # type: ignore[override]
        return self._draw(z, c, psi)


def export_generator(G: Generator, path: Path, file_format: Format, class_names: Sequence[str] | None = None) -> float:
    """Write path and path.json, and return the largest difference from torch, relative to the largest value from 1 up.

    Raises ExportError if a package is missing or the difference exceeds TOLERANCE; then no file is written.
    """
    G = copy.deepcopy(G).cpu().eval().requires_grad_(False)
    net = _wrapped(G)
    with replacing(path) as temporary:
        if file_format == "onnx":
            run = _write_onnx(net, temporary)
        elif file_format == "torch":
            run = _write_program(net, temporary)
        else:
            run = _write_weights(G, temporary, class_names)
        difference = max(_difference(net, run, _inputs(G, num, psi)) for num, psi in CHECKED)
        if not difference <= TOLERANCE:
            raise ExportError(
                f"{path}: its images differ from torch's by {difference:.1e}, more than {TOLERANCE:.0e}. "
                f"Nothing was written. The packages of {EXTRA} have other versions than those tested."
            )
    write_json(path.with_name(path.name + ".json"), _description(G, path, file_format, class_names, difference))
    return difference


def _wrapped(G: Generator) -> _Unconditional:
    return _Conditional(G) if G.c_dim else _Unconditional(G)


def _write_weights(G: Generator, path: Path, class_names: Sequence[str] | None) -> Draw:
    save_generator(G, path, class_names)
    loaded = _wrapped(load_generator(path))
    return lambda inputs: loaded(*inputs)


def _write_program(net: _Unconditional, path: Path) -> Draw:
    buffer = io.BytesIO()  # torch answers a full disk with pages that name no file
    with _quiet():
        torch.export.save(torch.export.export(net, _inputs(net.G, 2, 1.0), dynamic_shapes=_shapes(net.G)), buffer)
    path.write_bytes(buffer.getvalue())
    with path.open("rb") as file:
        module = torch.export.load(file).module()
    return lambda inputs: module(*inputs)


def _write_onnx(net: _Unconditional, path: Path) -> Draw:
    _require("onnxscript")
    runtime = _require("onnxruntime")
    with _quiet():
        program = torch.onnx.export(
            net, _inputs(net.G, 2, 1.0), dynamo=True, opset_version=OPSET, dynamic_shapes=_shapes(net.G),
            input_names=_input_names(net.G), output_names=["img"], verbose=False,
        )  # fmt: skip
    assert program is not None, "torch.onnx.export returns the program when no file is named"
    program.save(str(path), external_data=False)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = _input_names(net.G)
    return lambda inputs: torch.from_numpy(
        session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})[0]
    )


def _require(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ExportError(f"ONNX needs a package that cannot be imported ({error}): pip install '{EXTRA}'") from None


def _input_names(G: Generator) -> list[str]:
    return ["z", "c", "psi"] if G.c_dim else ["z", "psi"]


def _shapes(G: Generator) -> dict[str, dict[int, Any]]:
    batch = torch.export.Dim("batch")
    return {name: {} if name == "psi" else {0: batch} for name in _input_names(G)}


def _inputs(G: Generator, num: int, psi: float) -> Inputs:
    """The same latents every time; labels that are mixtures of classes"""
    rng = torch.Generator().manual_seed(num)
    z = torch.randn(num, G.z_dim, generator=rng)
    c = [torch.rand(num, G.c_dim, generator=rng).softmax(dim=1)] if G.c_dim else []
    return (z, *c, torch.tensor(psi))


@torch.no_grad()
def _difference(net: _Unconditional, run: Draw, inputs: Inputs) -> float:
    want, got = net(*inputs), run(inputs)
    if got.shape != want.shape:
        return float("inf")
    return float((got - want).abs().max() / want.abs().max().clamp_min(1))


def _description(
    G: Generator, path: Path, file_format: Format, class_names: Sequence[str] | None, difference: float
) -> dict[str, Any]:
    sizes = {"z": ["N", G.z_dim], "c": ["N", G.c_dim], "psi": []}
    return {
        "format": file_format,
        "sha256": sha256_of(path),
        "inputs": {name: sizes[name] for name in _input_names(G)},
        "output": {"img": ["N", G.img_channels, *sides(G.img_resolution)], "range": [-1, 1]},
        "class_names": None if class_names is None else list(class_names),
        "config": G.config.model_dump(mode="json"),
        "max_difference": difference,
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters deprecate their own parts and miss packages that no generator needs; a user can mend neither."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
