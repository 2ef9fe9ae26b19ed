"""Bias, activation, gain and clamp, in this order (Karras et al. 2020, App. B)."""

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Activation = Literal["lrelu", "linear"]
SLOPE = 0.2
GAIN = {"lrelu": math.sqrt(2), "linear": 1.0}  # keeps the variance of a unit normal input


def bias_act(
    x: Tensor, bias: Tensor | None, act: Activation, *, gain: float = 1.0, clamp: float | None = None
) -> Tensor:
    """clamp(gain * act(x + bias))  x [N, C, ...], bias [C] -> [N, C, ...]

    Scaling weights and bias by the gain beforehand would save a pass (lrelu(g x) = g lrelu(x) for g > 0), but rounds
    otherwise than the published order, and one input of lrelu whose sign so changes moves gradients by 4e-3.
    """
    if bias is not None:
        x = x + bias.to(x.dtype).reshape(1, -1, *[1] * (x.ndim - 2))
    if act == "lrelu":
        x = F.leaky_relu(x, SLOPE)
    if gain != 1:
        x = x * gain
    return x if clamp is None else x.clamp(-clamp, clamp)
