"""Convolution whose kernel is scaled by each image's style and demodulated.

N batch, I in-channels, O out-channels, k kernel, H W image.
"""

import math

import torch
from torch import Tensor

from stylegan.ops.conv2d_resample import conv2d_resample


def modulated_conv2d(
    x: Tensor, weight: Tensor, styles: Tensor, f: Tensor | None = None, *, up: int = 1, demodulate: bool = True
) -> Tensor:
    """Convolve each image with its own kernel, scaled by its style (Karras et al. 2020, Eq. 1-3).

    x [N, I, H, W], weight [O, I, k, k], styles [N, I], f [f, f] needed to upsample -> [N, O, H * up, W * up]
    Scales the input and the output instead of the kernel: the same product, one ordinary convolution for the batch.
    """
    if x.dtype == torch.float16 and demodulate:
        weight, styles = _within_half(weight, styles)
    x = x * styles.to(x.dtype)[:, :, None, None]
    x = conv2d_resample(x, weight.to(x.dtype), f, up=up)
    if demodulate:
        dcoefs = (styles.square() @ weight.square().sum(dim=(2, 3)).t() + 1e-8).rsqrt()  # [N, O]  Eq. 3
        x = x * dcoefs.to(x.dtype)[:, :, None, None]
    return x


def _within_half(weight: Tensor, styles: Tensor) -> tuple[Tensor, Tensor]:
    """Scale each kernel and each image's styles so that sums stay far below 65504, the end of half precision.

    Demodulation divides both scales out again, so no gradient has to flow through them.
    """
    with torch.no_grad():
        largest = weight.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-8)  # [O, 1, 1, 1]
        strongest = styles.abs().amax(dim=1, keepdim=True).clamp(min=1e-8)  # [N, 1]
    return weight / (largest * math.sqrt(weight[0].numel())), styles / strongest
