"""The Triton kernels that a training step launches on CUDA, with all that decides their machine code.

The phases run on meta tensors: the launchers of stylegan.ops.kernels.launch choose tiles, and nothing is computed.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from triton.runtime.jit import JITFunction

from benchmarks.settings import config
from benchmarks.workload import without_optimizers, workload
from stylegan.ops.kernels import launch

META = torch.device("meta")
TYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
ALIGNED = 16  # bytes of a pointer, or a number, that Triton compiles for where they divide it
RESULTS = ("out", "grad_x", "grad_grad", "grad_weight", "grad_styles", "grad_squares")


@dataclass(frozen=True)
class Variant:
    """What Triton compiles once: a kernel, types of its arguments, constants, and arguments that ALIGNED divides."""

    kernel: JITFunction[Any]
    types: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, Any], ...]
    aligned: tuple[str, ...]


@dataclass
class Use:
    """What all launches of a variant do together."""

    launches: int = 0
    elements: int = 0  # of the result
    bytes: int = 0  # every tensor once
    programs: int = 0
    steps: int = 0  # of the loop over rows or tiles, all programs together


@dataclass
class Launches(TorchDispatchMode):
    """Fills `uses` while the mode is on."""

    uses: dict[Variant, Use] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        namespace, _, name = func._schema.name.partition("::")
        if namespace == "stylegan":
            getattr(launch, name)(*args)
        out = func(*args, **(kwargs or {}))
        return _as_cudnn_lays_out(args, out) if name in ("convolution", "convolution_backward") else out

    def note(self, kernel: JITFunction[Any], *args: Any, grid: Sequence[int], warmup: bool, **named: Any) -> None:
        """In place of a launch"""
        given = dict(zip([param.name for param in kernel.params], args, strict=False)) | named
        use = self.uses.setdefault(_variant(kernel, given), Use())
        tensors = {id(value): value for value in given.values() if isinstance(value, Tensor)}
        use.launches += 1
        use.programs += math.prod(grid)
        use.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        use.elements += next(given[name].numel() for name in (*RESULTS, "scaled") if name in given)
        use.steps += math.prod(grid) * _steps(given)


def launches_of_step(resolution: int, batch: int, precision: str) -> dict[Variant, Use]:
    """Of the four phases, once each"""
    noted = Launches()
    work = without_optimizers(workload(config(resolution, batch, precision), META))
    with _recording(noted):
        for run in work.phases.values():
            run()
    return noted.uses


@contextmanager
def _recording(noted: Launches) -> Iterator[None]:
    def note(kernel: JITFunction[Any], *args: Any, **named: Any) -> None:
        noted.note(kernel, *args, **named)

    with patch.object(JITFunction, "run", note), noted:
        yield


def _variant(kernel: JITFunction[Any], given: dict[str, Any]) -> Variant:
    """As Triton's own launcher specialises"""
    types, constants, aligned = {}, {}, []
    for param in kernel.params:
        value, specialises = given[param.name], not param.do_not_specialize
        if param.is_constexpr or value is None or (specialises and isinstance(value, int) and value == 1):
            types[param.name], constants[param.name] = "constexpr", value
        elif isinstance(value, Tensor):
            types[param.name] = "*" + TYPES[value.dtype]
            aligned.append(param.name)
        elif isinstance(value, float):
            types[param.name] = "fp32"
        else:
            types[param.name] = "i32" if abs(value) < 2**31 else "i64"
            if specialises and value % ALIGNED == 0:
                aligned.append(param.name)
    return Variant(kernel, tuple(types.items()), tuple(constants.items()), tuple(aligned))


def _steps(given: dict[str, Any]) -> int:
    if "rows" in given:  # upfirdn2d; further rows are read only to fill its sums
        return int(given["rows"] + math.ceil(math.ceil(given["TAPS_Y"] / given["UP_Y"]) / given["READ"]) - 1)
    return int(given["tiles"]) if "parts" in given else 1


def _as_cudnn_lays_out(args: Any, out: Any) -> Any:
    """channels_last where images or kernel are; meta tensors come out contiguous"""
    if not any(isinstance(x, Tensor) and _is_channels_last(x) for x in args[:3]):
        return out
    results = out if isinstance(out, tuple) else (out,)
    results = tuple(
        x.contiguous(memory_format=torch.channels_last) if isinstance(x, Tensor) and x.ndim == 4 else x for x in results
    )
    return results if isinstance(out, tuple) else results[0]


def _is_channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
