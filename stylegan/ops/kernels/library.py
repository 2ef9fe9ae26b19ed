"""The kernels as torch.library operations, with the shapes that meta and fake tensors need.

N batch, C channels, H W image. Triton is imported when a kernel first runs, so a machine without it can count shapes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

LIBRARY = torch.library.Library("stylegan", "DEF")
AFTER = "Tensor? scale, Tensor? noise, Tensor? strength, Tensor? bias"
ACTIVATION = "float slope, float gain, float? clamp"


def layout_of(x: Tensor) -> torch.memory_format:
    """channels_last unless x is contiguous"""
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


def empty_like(x: Tensor, shape: Sequence[int] | None = None) -> Tensor:
    """Uninitialised, of the layout that kernels work in for x"""
    return torch.empty(shape or x.shape, dtype=x.dtype, device=x.device, memory_format=layout_of(x))


def _dense(x: Tensor) -> Tensor:
    """Uninitialised, contiguous whatever x is"""
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _register(schema: str, launcher: str, fake: Callable[..., Any]) -> None:
    """Define an operation that the named function of launch.py computes, on CUDA, or on the CPU by interpretation."""

    def run(*args: Any) -> Any:
        from stylegan.ops.kernels import launch

        tensor = next(arg for arg in args if isinstance(arg, Tensor))
        with torch.cuda.device_of(tensor):  # Triton launches on the current device, whichever the tensors are on
            return getattr(launch, launcher)(*args)

    name = schema.partition("(")[0]
    LIBRARY.define(schema)
    for key in ("CUDA", "CPU"):
        LIBRARY.impl(name, run, key)
    torch.library.register_fake(f"stylegan::{name}", fake, lib=LIBRARY)


def upfirdn2d_size(
    size: Sequence[int], taps: Sequence[int], up: Sequence[int], down: Sequence[int], padding: Sequence[int]
) -> list[int]:
    """[H, W] of the result; up and down are (x, y), padding is (x0, x1, y0, y1), taps are [fh, fw]"""
    x0, x1, y0, y1 = padding
    height = (size[0] * up[1] + y0 + y1 - taps[0]) // down[1] + 1
    return [height, (size[1] * up[0] + x0 + x1 - taps[1]) // down[0] + 1]


def _fake_upfirdn2d(
    x: Tensor, f: Tensor, other: Tensor | None, scale: Any, noise: Any, strength: Any, bias: Any, up: Sequence[int],
    down: Sequence[int], padding: Sequence[int], *_: Any,
) -> Tensor:  # fmt: skip
    size = upfirdn2d_size(x.shape[2:], f.shape, up, down, padding)
    return empty_like(x, (*x.shape[:2], *size))


def _fake_backward(
    grad: Tensor, kept: Tensor, scale: Any, noise: Any, strength: Any, bias: Any, slope: float, gain: float,
    clamp: float | None, is_input: bool, wants: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    return empty_like(kept), *empty_sums(kept, wants)


def empty_sums(kept: Tensor, wants: Sequence[bool]) -> tuple[Tensor, Tensor]:
    """Float32 sums over pixels [3, N, C] and over images too [2, C], of 0 rows where none are wanted"""
    n, c = kept.shape[:2]
    sums = torch.empty(3 if any(wants) else 0, n, c, dtype=torch.float32, device=kept.device)
    return sums, torch.empty(2 if any(wants[1:]) else 0, c, dtype=torch.float32, device=kept.device)


def empty_weight(weight: Tensor, dtype: torch.dtype, transposed: bool) -> Tensor:
    """[O, I, k, k] in the order that a convolution of channels_last images reads, or a transposed one"""
    o, i, h, w = weight.shape
    shape, order = ((i, h, w, o), (3, 0, 1, 2)) if transposed else ((o, h, w, i), (0, 3, 1, 2))
    return torch.empty(shape, dtype=dtype, device=weight.device).permute(order)


def _fake_prepare_weight(
    weight: Tensor, gain: float, normalizes: bool, wants_squares: bool, transposed: bool, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    out = empty_weight(weight, dtype, transposed)
    squares = torch.empty(weight.shape[:2] if wants_squares else (0, 0), dtype=torch.float32, device=weight.device)
    return out, squares, torch.empty(weight.shape[0], dtype=torch.float32, device=weight.device)


def _fake_double_backward(
    grad_grad_x: Tensor | None, grad_sum: Tensor, grad: Tensor, kept: Tensor, *_: Any
) -> tuple[Tensor, Tensor, Tensor]:
    return empty_like(kept), empty_like(kept), _dense(grad_sum)


_register(
    f"upfirdn2d(Tensor x, Tensor f, Tensor? other, {AFTER}, int[2] up, int[2] down, int[4] padding, float fir_gain, "
    f"bool flip, {ACTIVATION}) -> Tensor",
    "upfirdn2d",
    _fake_upfirdn2d,
)
_register(
    f"scale_bias_act(Tensor x, {AFTER}, {ACTIVATION}) -> Tensor",
    "scale_bias_act",
    lambda x, *_: empty_like(x),
)
_register(
    f"scale_bias_act_backward(Tensor grad, Tensor kept, {AFTER}, {ACTIVATION}, bool is_input, bool[3] wants) "
    "-> (Tensor, Tensor, Tensor)",
    "scale_bias_act_backward",
    _fake_backward,
)
_register(
    "scale_bias_act_double_backward(Tensor? grad_grad_x, Tensor grad_sum, Tensor grad, Tensor kept, "
    f"{AFTER}, {ACTIVATION}, bool is_input) -> (Tensor, Tensor, Tensor)",
    "scale_bias_act_double_backward",
    _fake_double_backward,
)
_register(
    "prepare_weight(Tensor weight, float gain, bool normalizes, bool wants_squares, bool transposed, ScalarType dtype) "
    "-> (Tensor, Tensor, Tensor)",
    "prepare_weight",
    _fake_prepare_weight,
)
_register(
    "prepare_weight_backward(Tensor? grad, Tensor? grad_squares, Tensor weight, Tensor factor) -> Tensor",
    "prepare_weight_backward",
    lambda grad, grad_squares, weight, factor: _dense(weight),
)
_register(
    "demodulate(Tensor styles, Tensor squares, bool normalizes) -> (Tensor, Tensor, Tensor)",
    "demodulate",
    lambda styles, squares, _: (
        _dense(styles), styles.new_empty(len(styles), len(squares)), styles.new_empty(len(styles))
    ),
)  # fmt: skip
_register(
    "demodulate_backward(Tensor? grad_scaled, Tensor grad_dcoefs, Tensor scaled, Tensor squares, Tensor dcoefs, "
    "Tensor factors) -> (Tensor, Tensor)",
    "demodulate_backward",
    lambda _grad, _of_dcoefs, scaled, squares, *_: (_dense(scaled), _dense(squares)),
)
