"""Layers with equalised learning rate, the mapping network, and channel arithmetic.

N batch, I in-channels, O out-channels, k kernel, H W image, L = num_ws.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.ops import bias_act, conv2d_resample, kernels, setup_filter
from stylegan.ops.bias_act import GAIN, Activation
from stylegan.ops.kernels.differentiable import prepare_weight

NoiseMode = Literal["random", "const", "none"]
RESAMPLE_TAPS = (1.0, 3.0, 3.0, 1.0)  # the papers' low-pass filter
NUM_HALF_RES = 4  # resolutions computed in reduced precision, counted from the highest (Karras et al. 2020a, App. E)


def channels_at(res: int, channel_base: int, channel_max: int) -> int:
    """Feature maps at a resolution in pixels"""
    return min(channel_base // res, channel_max)


def dtype_at(res: int, img_resolution: int, dtype: torch.dtype) -> torch.dtype:
    """Reduced precision is for the highest resolutions, never below 8 pixels, where it saves nothing."""
    lowest = max(img_resolution * 2 // 2**NUM_HALF_RES, 8)
    return dtype if res >= lowest else torch.float32


def at_least_fp32(x: Tensor) -> Tensor:
    """Raise half precisions; float64, the reference of docs/precision.md, stays"""
    return x if x.dtype == torch.float64 else x.float()


def normalize_2nd_moment(x: Tensor) -> Tensor:
    """Scale each row to unit mean square (Karras et al. 2018, PixelNorm)  [N, F] -> [N, F]"""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def noise_image(x: Tensor, noise_const: Tensor | None, mode: NoiseMode) -> Tensor | None:
    """[N or 1, 1, H, W]; noise_const [H, W] may also be replaced by maps of their own for N images; None: no noise"""
    if noise_const is None or mode == "none":
        return None
    size = noise_const.shape[-2:]
    if mode == "random":
        return torch.randn(x.shape[0], 1, *size, device=x.device)
    return noise_const.reshape(-1, 1, *size)


class FullyConnected(nn.Module):
    """Linear layer with equalised learning rate, activation and learning-rate multiplier.  [N, I] -> [N, O]"""

    def __init__(
        self, in_features: int, out_features: int, act: Activation, *, lr_multiplier: float = 1.0, bias_init: float = 0
    ) -> None:
        super().__init__()
        self.act: Activation = act
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        if kernels.handles("scale_bias_act", x):
            x = torch.addmm(self.bias, x, self.weight.t(), beta=self.bias_gain, alpha=self.weight_gain)
        else:
            x = F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
        return bias_act(x, None, self.act, gain=GAIN[self.act])


def apply_each(layers: Sequence[FullyConnected], inputs: Sequence[Tensor]) -> list[Tensor]:
    """Each linear layer on its own input [N, I]; on a GPU those of equal width as one batch of products"""
    if not layers or not kernels.handles("scale_bias_act", inputs[0]):
        return [layer(x) for layer, x in zip(layers, inputs, strict=True)]
    results: dict[int, Tensor] = {}
    widths = [layer.weight.shape for layer in layers]
    for width in dict.fromkeys(widths):
        group = [index for index, other in enumerate(widths) if other == width]
        weights = torch.stack([layers[index].weight for index in group]).transpose(1, 2)  # [G, I, O]
        biases = torch.stack([layers[index].bias for index in group])[:, None]  # [G, 1, O]
        x = torch.stack([inputs[index] for index in group])  # [G, N, I]
        outputs = torch.baddbmm(biases, x, weights, alpha=layers[group[0]].weight_gain)
        results |= zip(group, outputs.unbind(), strict=True)
    return [results[index] for index in range(len(layers))]


class Conv2dLayer(nn.Module):
    """Convolution with equalised learning rate, resampling, activation and clamp.  [N, I, H, W] -> [N, O, H', W']"""

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        act: Activation,
        *,
        bias: bool = True,
        up: int = 1,
        down: int = 1,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.act: Activation = act
        self.up, self.down, self.clamp = up, down, clamp
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_gain = 1 / math.sqrt(in_channels * kernel_size**2)
        self.register_buffer("resample_filter", setup_filter(RESAMPLE_TAPS))

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        clamp = None if self.clamp is None else self.clamp * gain
        if kernels.handles("prepare_weight", x):
            return self._forward_prepared(x, GAIN[self.act] * gain, clamp)
        weight = (self.weight * self.weight_gain).to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        x = conv2d_resample(x, weight, self.resample_filter, up=self.up, down=self.down, bias=bias)
        return bias_act(x, None, self.act, gain=GAIN[self.act] * gain, clamp=clamp)

    def _forward_prepared(self, x: Tensor, gain: float, clamp: float | None) -> Tensor:
        weight_gain = self.weight_gain
        if self.bias is None and self.act == "linear" and clamp is None and x.dtype != torch.float32:
            weight_gain, gain = weight_gain * gain, 1.0  # float32 keeps the published order
        weight, _ = prepare_weight(self.weight, x.dtype, gain=weight_gain, transposed=self.up > 1)
        x = conv2d_resample(x, weight, self.resample_filter, up=self.up, down=self.down)
        return bias_act(x, self.bias, self.act, gain=gain, clamp=clamp)


class MappingNetwork(nn.Module):
    """Latent and label to style: w = f(z, c) (Karras et al. 2019, Sec. 2).  Without latents (z_dim 0) it embeds labels.

    `w_avg` is updated by `track_w_avg` alone, never as a side effect of forward.
    """

    w_avg: Tensor

    def __init__(
        self, z_dim: int, c_dim: int, w_dim: int, num_ws: int, num_layers: int, lr_multiplier: float, *, average: bool
    ) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_ws, self.num_layers = z_dim, c_dim, w_dim, num_ws, num_layers
        if c_dim > 0:
            self.embed = FullyConnected(c_dim, w_dim, "linear")
        features = z_dim + (w_dim if c_dim > 0 else 0)
        for index in range(num_layers):
            layer = FullyConnected(features, w_dim, "lrelu", lr_multiplier=lr_multiplier)
            setattr(self, f"fc{index}", layer)
            features = w_dim
        if features != w_dim:
            raise ValueError(
                f"a mapping network of no layers gives {features} numbers, z and the label's embedding, but w has "
                f"{w_dim}. Set generator.mapping_layers to at least 1."
            )
        if average:
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor | None, c: Tensor | None = None) -> Tensor:
        """z [N, z_dim], c [N, c_dim] -> ws [N, L, w_dim], or [N, w_dim] when num_ws is 0

        c may be left out when c_dim is 0. Raises ValueError if a label is missing.
        """
        parts = [] if z is None else [normalize_2nd_moment(at_least_fp32(z))]
        if self.c_dim > 0:
            if c is None:
                raise ValueError(f"this network is conditional and needs labels c [N, {self.c_dim}]")
            parts.append(normalize_2nd_moment(self.embed(at_least_fp32(c))))
        x = torch.cat(parts, dim=1)
        for index in range(self.num_layers):
            x = getattr(self, f"fc{index}")(x)
        return x[:, None].expand(-1, self.num_ws, -1) if self.num_ws else x

    @torch.no_grad()
    def track_w_avg(self, w_mean: Tensor, beta: float) -> None:
        """w_avg <- beta w_avg + (1 - beta) w_mean, the mean of a batch  [w_dim]"""
        self.w_avg.lerp_(w_mean, 1 - beta)
