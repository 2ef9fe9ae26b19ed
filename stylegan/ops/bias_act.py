"""What follows a convolution: scale, noise, bias, activation, gain, clamp, in this order (Karras et al. 2020, App. B).

N batch, C channels, H W image.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.ops import kernels
from stylegan.ops.kernels import differentiable

Activation = Literal["lrelu", "linear"]
SLOPE = 0.2
SLOPES = {"lrelu": SLOPE, "linear": 1.0}
GAIN = {"lrelu": math.sqrt(2), "linear": 1.0}  # keeps the variance of a unit normal input
HALF_DTYPES = (torch.bfloat16, torch.float16)


def bias_act(
    x: Tensor, bias: Tensor | None, act: Activation, *, gain: float = 1.0, clamp: float | None = None
) -> Tensor:
    """clamp(gain * act(x + bias))  x [N, C, ...], bias [C] -> [N, C, ...]

    Scaling weights and bias by the gain beforehand would save a pass (lrelu(g x) = g lrelu(x) for g > 0), but rounds
    otherwise than the published order, and one input of lrelu whose sign so changes moves gradients by 4e-3.
    """
    if bias is None and act == "linear" and gain == 1 and clamp is None:
        return x
    if x.ndim in (2, 4) and kernels.handles("scale_bias_act", x):
        return _as_maps(x, bias, (SLOPES[act], gain, clamp))
    if bias is not None:
        x = x + bias.to(x.dtype).reshape(1, -1, *[1] * (x.ndim - 2))
    if act == "lrelu":
        x = F.leaky_relu(x, SLOPE)
    if gain != 1:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


def scale_bias_act(
    x: Tensor, scale: Tensor | None, noise: Tensor | None, noise_strength: Tensor | None, bias: Tensor, act: Activation,
    *, gain: float = 1.0, clamp: float | None = None,
) -> Tensor:  # fmt: skip
    """clamp(gain * act(x * scale + noise * noise_strength + bias))

    x [N, C, H, W], scale [N, C], noise [N or 1, 1, H, W], noise_strength [], bias [C] -> [N, C, H, W]
    """
    if fuses(x, noise):
        activation = SLOPES[act], gain, clamp
        return differentiable.scale_bias_act(x, scale, noise, noise_strength, bias, activation)
    if scale is not None:
        x = x * scale.to(x.dtype)[:, :, None, None]
    return bias_act(_add_noise_and_bias(x, noise, noise_strength, bias), None, act, gain=gain, clamp=clamp)


def fuses(x: Tensor, noise: Tensor | None) -> bool:
    """Whether a kernel follows the convolution; kernels take noise as a constant, but projection searches noise maps"""
    is_searched = noise is not None and noise.requires_grad and torch.is_grad_enabled()
    return not is_searched and kernels.handles("scale_bias_act", x)


def _as_maps(x: Tensor, bias: Tensor | None, activation: differentiable.Activation) -> Tensor:
    """Rows of features are the pixels of one image whose channels lie last."""
    if x.ndim == 4:
        return differentiable.scale_bias_act(x, None, None, None, bias, activation)
    maps = x[None].transpose(1, 2)[..., None]  # [1, C, N, 1]
    return differentiable.scale_bias_act(maps, None, None, None, bias, activation)[0, :, :, 0].t()


def _add_noise_and_bias(x: Tensor, noise: Tensor | None, strength: Tensor | None, bias: Tensor) -> Tensor:
    """One after the other, as published; in reduced precision, whose rounding is no one's reference, at once.

    Adding a whole image takes a tenth of the time of twice adding one that is repeated along a dimension, where
    channels are few and the processor has no arithmetic of bfloat16 (docs/log.md).
    """
    if noise is None or strength is None:
        return x + bias[:, None, None].to(x.dtype)
    noise = noise * strength
    if x.dtype in HALF_DTYPES:
        whole = noise.movedim(1, 3) + bias  # channels last, like x
        return x + whole.movedim(3, 1).to(x.dtype)
    return x + noise + bias[:, None, None]
