"""Convolution whose kernel is scaled by each image's style and demodulated, and the layer of the generator around it.

N batch, I in-channels, O out-channels, k kernel, H W image.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.ops import kernels
from stylegan.ops.bias_act import SLOPES, Activation, fuses, scale_bias_act
from stylegan.ops.conv2d_resample import convolve, filter_padding
from stylegan.ops.kernels import differentiable
from stylegan.ops.upfirdn2d import Quad, adjoint, upfirdn2d


def modulated_conv2d(
    x: Tensor, weight: Tensor, styles: Tensor, f: Tensor | None = None, *, up: int = 1, demodulate: bool = True
) -> Tensor:
    """Convolve each image with its own kernel, scaled by its style (Karras et al. 2020, Eq. 1-3).

    x [N, I, H, W], weight [O, I, k, k], styles [N, I], f [f, f] needed to upsample -> [N, O, H * up, W * up]
    Scales the input and the output instead of the kernel: the same product, one ordinary convolution for the batch.
    """
    x, dcoefs = _convolve(x, weight, styles, up, demodulate)
    if up > 1:
        assert f is not None
        x = upfirdn2d(x, f, padding=filter_padding(weight, f, up), gain=up**2)
    return x if dcoefs is None else x * dcoefs.to(x.dtype)[:, :, None, None]


def style_layer(
    x: Tensor, weight: Tensor, styles: Tensor, f: Tensor, noise: Tensor | None, noise_strength: Tensor | None,
    bias: Tensor, act: Activation, *, up: int = 1, gain: float = 1.0, clamp: float | None = None,
) -> Tensor:  # fmt: skip
    """clamp(gain * act(modulated_conv2d(x) + noise * noise_strength + bias)), demodulated, with one pass behind it

    noise [N or 1, 1, H * up, W * up], bias [O]; the rest as in modulated_conv2d.
    """
    x, dcoefs = _convolve(x, weight, styles, up, True)
    if up > 1:
        padding = filter_padding(weight, f, up)
        if kernels.handles("upfirdn2d", x) and fuses(x, noise):
            activation = SLOPES[act], gain, clamp
            out: Tensor = _FilterScaleBiasAct.apply(  # type: ignore[no-untyped-call]
                x, f, padding, float(up**2), dcoefs, noise, noise_strength, bias, activation
            )
            return out
        x = upfirdn2d(x, f, padding=padding, gain=up**2)
    return scale_bias_act(x, dcoefs, noise, noise_strength, bias, act, gain=gain, clamp=clamp)


def mix_maps(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
    """A modulated 1x1 convolution to a few maps, without demodulation, as one product of matrices for each image

    x [N, I, H, W], weight [O, I, 1, 1], styles [N, I] -> [N, O, H, W] in float32. Reads x once, where the scaling of it
    would read and write it first. Maps are made in eights, which the tensor cores of a GPU want.
    """
    n, _, h, w = x.shape
    o = len(weight)
    kernels = F.pad(weight[:, :, 0, 0], (0, 0, 0, -o % 8))[None] * styles[:, None]  # [N, O, I]
    rows = x.permute(0, 2, 3, 1).reshape(n, h * w, -1)
    maps = torch.bmm(rows, kernels.to(x.dtype).transpose(1, 2))[:, :, :o].float()
    return maps.reshape(n, h, w, o).permute(0, 3, 1, 2)


def _convolve(x: Tensor, weight: Tensor, styles: Tensor, up: int, demodulate: bool) -> tuple[Tensor, Tensor | None]:
    """The convolution before its filter, and the factors [N, O] that demodulate it"""
    if kernels.handles("prepare_weight", x) and kernels.handles("scale_bias_act", x):
        return _convolve_prepared(x, weight, styles, up, demodulate)
    if x.dtype == torch.float16 and demodulate:
        weight, styles = _within_half(weight, styles)
    x = x * styles.to(x.dtype)[:, :, None, None]
    x = convolve(x, weight.to(x.dtype), up)
    return x, demodulation_factors(styles, weight.square().sum(dim=(2, 3))) if demodulate else None


def _convolve_prepared(
    x: Tensor, weight: Tensor, styles: Tensor, up: int, demodulate: bool
) -> tuple[Tensor, Tensor | None]:
    within_half = x.dtype == torch.float16 and demodulate
    prepared, squares = differentiable.prepare_weight(
        weight, x.dtype, gain=1 / math.sqrt(weight[0].numel()) if within_half else 1.0, normalizes=within_half,
        wants_squares=demodulate, transposed=up > 1,
    )  # fmt: skip
    dcoefs = None
    if demodulate:
        styles, dcoefs = differentiable.demodulate(styles, squares, normalizes=within_half)
    return convolve(differentiable.modulate(x, styles), prepared, up), dcoefs


def demodulation_factors(styles: Tensor, squares: Tensor) -> Tensor:
    """1 / norm of each image's kernels (Eq. 3)  styles [N, I], squares of the weights [O, I] -> [N, O]"""
    return (styles.square() @ squares.t() + 1e-8).rsqrt()


def _within_half(weight: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
    """Scale each kernel and each image's styles so that sums stay far below 65504, the end of half precision.

    Demodulation divides both scales out again, so no gradient has to flow through them.
    """
    with torch.no_grad():
        largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-8)  # [O, 1, 1, 1]
        strongest = styles.abs().amax(dim=1, keepdim=True).clamp(min=1e-8)  # [N, 1]
    return weight / (largest * math.sqrt(weight[0].numel())), styles / strongest


class _FilterScaleBiasAct(torch.autograd.Function):
    """The filter of an upsampling convolution and all that follows it in one pass; keeps its result only."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, f: Tensor, padding: Quad, fir_gain: float, scale: Tensor, noise: Tensor | None,
        strength: Tensor | None, bias: Tensor, activation: differentiable.Activation,
    ) -> Tensor:  # fmt: skip
        after = (scale, noise, strength, bias)
        out = differentiable.upfirdn2d(x, f, None, (1, 1), (1, 1), padding, fir_gain, False, *after, activation)
        ctx.save_for_backward(f, out, *after)
        ctx.args = (padding, fir_gain, activation, x.shape[2:])
        ctx.set_materialize_grads(False)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        if grads[0] is None:
            return (None,) * 9
        f, out, scale, noise, strength, bias = ctx.saved_tensors
        padding, fir_gain, activation, in_size = ctx.args
        wants = (ctx.needs_input_grad[4], ctx.needs_input_grad[7], ctx.needs_input_grad[6])
        grad_y, of_scale, of_bias, of_strength = differentiable.gradients(
            grads[0], out, scale, noise, strength, bias, activation, False, wants
        )
        grad_x = adjoint(grad_y, f, (1, 1), (1, 1), padding, fir_gain, False, in_size, out.shape[2:])
        return grad_x, None, None, None, of_scale, None, of_strength, of_bias, None
