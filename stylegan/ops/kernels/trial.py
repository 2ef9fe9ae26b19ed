"""Tries each kernel on a device against the stock operation: values, first and second derivatives, on a few numbers.

Nothing here draws random numbers, so a run that tries kernels and one that does not train alike.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stylegan.ops.bias_act import SLOPES, scale_bias_act
from stylegan.ops.kernels import differentiable, using
from stylegan.ops.modulated_conv2d import demodulation_factors
from stylegan.ops.upfirdn2d import filter_stock

# Relative to the largest value, stock operations in float64, which no setting rounds. Seen on a processor: 5e-7, 7e-4
# and 7e-2; a wrong kernel is off by about 1.
TOLERANCES = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 0.2}
SHAPE = (2, 8, 9, 7)


def try_all(device: torch.device) -> dict[str, str | None]:
    """Name of each kernel: None if it agrees with stock torch, or in a few words what is wrong with it"""
    return {name: _problem(trial, device) for name, trial in TRIALS.items()}


def _problem(trial: Callable[[torch.device, torch.dtype], float], device: torch.device) -> str | None:
    for dtype, tolerance in TOLERANCES.items():
        try:
            with torch.inference_mode(False), torch.enable_grad():  # whatever the first use stands in
                error = trial(device, dtype)
        except Exception as problem:  # whatever an unknown card, driver or Triton brings up: stock torch continues
            return f"{type(problem).__name__}: {problem}".split("\n")[0][:120]
        if not error <= tolerance:  # also of NaN
            return f"differs by {error:.0e} in {str(dtype).removeprefix('torch.')}"
    return None


def _try_upfirdn2d(device: torch.device, dtype: torch.dtype) -> float:
    short, long = _wave(device, 4, 4), _wave(device, 1, 12)
    settings = (
        (short, (1, 1), (1, 1), (2, 2, 2, 2)), (short, (2, 2), (1, 1), (2, 1, 2, 1)),
        (short, (1, 1), (2, 2), (1, 1, 1, 1)), (long, (2, 1), (1, 1), (6, 5, 0, 0)),
    )  # fmt: skip
    worst = 0.0
    for f, up, down, padding in settings:
        for layout in (torch.channels_last, torch.contiguous_format):
            x = _wave(device, *SHAPE).to(dtype).contiguous(memory_format=layout)
            got = differentiable.upfirdn2d(x, f, None, up, down, padding, 1.5, False)
            want = filter_stock(x.double(), f.double(), up, down, padding, 1.5, False)
            worst = max(worst, _difference([got], [want]))
    return worst


def _try_scale_bias_act(device: torch.device, dtype: torch.dtype) -> float:
    n, c, h, w = SHAPE
    noise = _wave(device, 1, 1, h, w)
    x = _wave(device, *SHAPE).to(dtype).contiguous(memory_format=torch.channels_last)
    scale, strength, bias = _wave(device, n, c) + 2, _wave(device, 1)[0], _wave(device, c)

    def kernel(x: Tensor, scale: Tensor, strength: Tensor, bias: Tensor) -> Tensor:
        activation = SLOPES["lrelu"], 1.5, 256.0
        x = differentiable.modulate(x, scale)
        return differentiable.scale_bias_act(x, scale, noise, strength, bias, activation)

    def stock(x: Tensor, scale: Tensor, strength: Tensor, bias: Tensor) -> Tensor:
        with using("stock"):
            x = x * scale[:, :, None, None]
            return scale_bias_act(x, scale, noise.double(), strength, bias, "lrelu", gain=1.5, clamp=256.0)

    inputs = (x, scale, strength, bias)
    return _difference(_derivatives(kernel, inputs), _derivatives(stock, [x.double() for x in inputs]))


def _try_prepare_weight(device: torch.device, dtype: torch.dtype) -> float:
    weight, styles = _wave(device, 5, 8, 3, 3), _wave(device, 2, 8) + 2

    def kernel(weight: Tensor, styles: Tensor) -> Tensor:
        prepared, squares = differentiable.prepare_weight(weight, dtype, gain=0.5, wants_squares=True)
        return _flat(prepared.float(), *differentiable.demodulate(styles, squares, normalizes=False))

    def stock(weight: Tensor, styles: Tensor) -> Tensor:
        squares = (0.5 * weight).square().sum(dim=(2, 3))
        return _flat(0.5 * weight, styles, demodulation_factors(styles, squares))

    inputs = (weight, styles)
    return _difference(_derivatives(kernel, inputs), _derivatives(stock, [x.double() for x in inputs]))


TRIALS: dict[str, Callable[[torch.device, torch.dtype], float]] = {
    "upfirdn2d": _try_upfirdn2d,
    "scale_bias_act": _try_scale_bias_act,
    "prepare_weight": _try_prepare_weight,
}


def _wave(device: torch.device, *shape: int) -> Tensor:
    """Numbers from -1 to 1 that do not repeat"""
    return torch.arange(1, 1 + torch.Size(shape).numel(), device=device).float().mul(0.7).sin().reshape(shape)


def _flat(*tensors: Tensor) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def _derivatives(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Value, gradients of its weighted sum, and gradients of their squares, which the first two inputs decide"""
    inputs = [x.detach().requires_grad_() for x in inputs]
    out = function(*inputs)
    weights = _wave(out.device, *out.shape).to(out.dtype)
    first = torch.autograd.grad(out, inputs, weights, create_graph=True)
    squares = torch.stack([grad.float().square().mean() for grad in first])
    second = torch.autograd.grad(squares.sum(), inputs[:2])
    return [out, *first, *second]


def _difference(got: Sequence[Tensor], want: Sequence[Tensor]) -> float:
    """The largest, relative to the largest value of its tensor"""
    pairs = [(a.detach().double(), b.detach()) for a, b in zip(got, want, strict=True)]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)
