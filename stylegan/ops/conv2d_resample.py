"""Convolution joined with 2x up- or downsampling, each in the order that costs least.

N batch, I in-channels, O out-channels, k kernel, H W image.
"""

import torch.nn.functional as F
from torch import Tensor

from stylegan.ops.upfirdn2d import Quad, downsample2d, upfirdn2d, upsample2d


def conv2d_resample(
    x: Tensor, weight: Tensor, f: Tensor | None, *, up: int = 1, down: int = 1, bias: Tensor | None = None
) -> Tensor:
    """'Same' convolution after upsampling by `up`, or before downsampling by `down` (Karras et al. 2020, Sec. 4).

    x [N, I, H, W], weight [O, I, k, k] with odd k, f [f, f], bias [O] -> [N, O, H * up / down, W * up / down]
    A plain layer correlates; an upsampling one convolves, as the published weights expect.
    """
    k = weight.shape[-1]
    if up == down == 1:
        return F.conv2d(x, weight, bias, padding=k // 2)
    assert f is not None
    taps = f.shape[-1]
    if down > 1:
        if k == 1:
            return F.conv2d(downsample2d(x, f, down), weight, bias)
        pad = ((taps - down + 1) // 2 + k // 2, (taps - down) // 2 + k // 2)
        return F.conv2d(upfirdn2d(x, f, padding=(*pad, *pad)), weight, bias, stride=down)
    if k == 1:
        x = upsample2d(F.conv2d(x, weight), f, up)
    else:
        x = upfirdn2d(convolve(x, weight, up), f, padding=filter_padding(weight, f, up), gain=up**2)
    return x if bias is None else x + bias[:, None, None]


def convolve(x: Tensor, weight: Tensor, up: int) -> Tensor:
    """The 'same' convolution, transposed to upsample; what filters that is padded by filter_padding"""
    if up > 1:
        return F.conv_transpose2d(x, weight.transpose(0, 1), stride=up)
    return F.conv2d(x, weight, padding=weight.shape[-1] // 2)


def filter_padding(weight: Tensor, f: Tensor, up: int) -> Quad:
    """Of the filter after a transposed convolution, which has padded k - 1 before and k - up after already"""
    k, taps = weight.shape[-1], f.shape[-1]
    before, after = (taps + up - 1) // 2 + k // 2 - (k - 1), (taps - up) // 2 + k // 2 - (k - up)
    return before, after, before, after
