"""Resampling of images at warped pixels, through a grid of twice the density (Karras et al. 2020a, App. B.2).

N batch, C channels, H W image.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.ops import grid_sample, setup_filter, upfirdn2d, upsample2d

# Orthogonal wavelet of Daubechies with least asymmetry, as in PyWavelets: the low-pass filter of the doubled grid.
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip
TAPS = len(SYM6)
BORDER = TAPS // 4  # pixels beyond the image that the filters read

# Up to about this side in pixels, padding and 12-tap filters are cheaper as products with their matrices: measured at
# 32 (docs/log.md), counted in operations elsewhere. Beyond it the matrices' zeros cost more than they save.
# Accelerators have the same limit: four products take fewer launches than padding and filters, and fewer bytes.
DENSE_SIZE = 128

Margins = tuple[int, int, int, int]  # x0, x1, y0, y1


class Warp(NamedTuple):
    """What a warp knows of its batch before the device does anything; on the CPU"""

    moving: Tensor  # positions of the images that move [M]
    theta: Tensor  # from output to input, both from -1 to 1 [M, 2, 3]
    margins: Margins


def plan_warp(inverse: Tensor, h: int, w: int) -> Warp | None:
    """From maps of output to input pixels about the image centre [N, 3, 3]; None if nothing moves

    Only images that move are resampled: the filters reconstruct the others perfectly, so the result is the same.
    """
    moving = (inverse != torch.eye(3)).any(dim=2).any(dim=1).nonzero()[:, 0]
    if moving.numel() == 0:
        return None
    if moving.numel() < inverse.shape[0]:
        inverse = inverse[moving]
    margins = find_margins(inverse, h, w)
    return Warp(moving, find_theta(inverse, h, w, margins), margins)


def warp(images: Tensor, moving: Tensor, theta: Tensor, margins: Margins) -> Tensor:
    """Each output pixel is taken from where theta maps it; beyond the border the image is mirrored.

    [N, C, H, W], and the parts of a Warp on the same device -> [N, C, H, W]
    """
    if moving.shape[0] == images.shape[0]:
        return resample(images, theta, margins)
    moving = moving.long()
    return images.index_copy(0, moving, resample(images[moving], theta, margins))


def resample(images: Tensor, theta: Tensor, margins: Margins) -> Tensor:
    """`warp` of every image, moving or not"""
    h, w = images.shape[2:]
    images = _pad_upsample(images, margins)
    images = grid_sample(images, _affine_grid(theta, *_canvas(h, w)))
    return _crop_downsample(images, BORDER * 2)


def _canvas(h: int, w: int) -> tuple[int, int]:
    """Height and width that are sampled: the image and a border, at twice the density"""
    return (h + BORDER * 2) * 2, (w + BORDER * 2) * 2


def find_theta(inverse: Tensor, h: int, w: int, margins: Margins) -> Tensor:
    """Maps of pixels about the centre [N, 3, 3] -> of the canvas to the padded images, both from -1 to 1 [N, 2, 3]"""
    x0, x1, y0, y1 = margins
    out_h, out_w = _canvas(h, w)
    linear, shift = inverse[:, :2, :2], inverse[:, :2, 2]
    # Pixel centres of the doubled grid are half a pixel off its origin.
    shift = (shift + torch.tensor([(x0 - x1) / 2, (y0 - y1) / 2])) * 2 - 0.5
    shift = linear.sum(dim=2) * 0.5 + shift
    to_unit = torch.tensor([[1 / (x0 + w + x1)], [1 / (y0 + h + y1)]])
    from_unit = torch.tensor([out_w / 2, out_h / 2, 1])
    return torch.cat([linear, shift[:, :, None]], dim=2) * to_unit * from_unit


def find_margins(inverse: Tensor, h: int, w: int) -> Margins:
    """Pixels to add on each side (x0, x1, y0, y1), enough for the image that reaches furthest out."""
    cx, cy = (w - 1) / 2, (h - 1) / 2
    corners = torch.tensor([[-cx, cx, cx, -cx], [-cy, -cy, cy, cy], [1.0, 1.0, 1.0, 1.0]])
    reach = (inverse[:, :2].reshape(-1, 3) @ corners).view(-1, 2, 4)
    least, most = reach.amin(dim=(0, 2)), reach.amax(dim=(0, 2))
    excess = torch.stack([-least, most], dim=1).flatten() + torch.tensor([-cx, -cx, -cy, -cy]) + BORDER * 2
    x0, x1, y0, y1 = (
        min(math.ceil(max(side, 0)), size - 1) for side, size in zip(excess.tolist(), (w, w, h, h), strict=True)
    )
    return x0, x1, y0, y1


def _affine_grid(theta: Tensor, h: int, w: int) -> Tensor:
    """As F.affine_grid of unaligned corners, by a sum instead of a product of thin matrices  -> [N, h, w, 2]"""
    x, y = (_pixel_centers(size, theta.dtype, theta.device) for size in (w, h))
    along_x = theta[:, None, None, :, 0] * x[:, None]  # [N, 1, w, 2]
    along_y = theta[:, None, None, :, 1] * y[:, None, None] + theta[:, None, None, :, 2]  # [N, h, 1, 2]
    return along_x + along_y


def _pad_upsample(images: Tensor, margins: Margins) -> Tensor:
    """Mirror the margins and double the density  [N, C, H, W] -> [N, C, 2 (y0 + H + y1), 2 (x0 + W + x1)]"""
    h, w = images.shape[2:]
    if max(h, w) > DENSE_SIZE:
        return upsample2d(F.pad(images, margins, mode="reflect"), _low_pass(images.device))
    x0, x1, y0, y1 = margins
    kind = images.dtype, images.device
    return _apply(images, _upsampling(h, y0, y1, *kind), _upsampling(w, x0, x1, *kind))


def _crop_downsample(images: Tensor, crop: int) -> Tensor:
    """Halve the density, leaving out the outer pixels  [N, C, H, W] -> [N, C, H / 2 - crop, W / 2 - crop]"""
    h, w = images.shape[2:]
    if max(h, w) // 2 - crop > DENSE_SIZE:
        pad = _downsampling_pad(crop)
        return upfirdn2d(images, _low_pass(images.device), down=2, padding=(*pad, *pad), flip_filter=True)
    kind = images.dtype, images.device
    return _apply(images, _downsampling(h, crop, *kind), _downsampling(w, crop, *kind))


@lru_cache
@torch.inference_mode(mode=False)  # kept for later calls, which may want gradients
def _low_pass(device: torch.device) -> Tensor:
    return setup_filter(SYM6).to(device)


@lru_cache
@torch.inference_mode(mode=False)
def _pixel_centers(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Where pixels are if the side goes from -1 to 1  -> [size]"""
    return (torch.arange(size, dtype=dtype, device=device) * 2 + 1) / size - 1


@lru_cache(maxsize=256)  # margins differ from batch to batch, but mostly reach the whole image
@torch.inference_mode(mode=False)
def _upsampling(size: int, before: int, after: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Matrix that mirrors the margins of a row and doubles its density  -> [size, 2 (before + size + after)]"""
    rows = torch.eye(size, dtype=dtype, device=device)[None, None]
    rows = F.pad(rows, (before, after, 0, 0), mode="reflect")
    pad = ((TAPS + 1) // 2, (TAPS - 2) // 2, 0, 0)
    return upfirdn2d(rows, _low_pass(device)[None], up=(2, 1), padding=pad, gain=2)[0, 0]


@lru_cache(maxsize=256)
@torch.inference_mode(mode=False)
def _downsampling(size: int, crop: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Matrix that halves the density of a row without its outer pixels  -> [size, size / 2 - crop]"""
    rows, pad = torch.eye(size, dtype=dtype, device=device)[None, None], (*_downsampling_pad(crop), 0, 0)
    return upfirdn2d(rows, _low_pass(device)[None], down=(2, 1), padding=pad, flip_filter=True)[0, 0]


def _downsampling_pad(crop: int) -> tuple[int, int]:
    return (TAPS - 1) // 2 - crop, (TAPS - 2) // 2 - crop


def _apply(images: Tensor, along_y: Tensor, along_x: Tensor) -> Tensor:
    """Linear maps [H, H'] of the columns and [W, W'] of the rows of images  [N, C, H, W] -> [N, C, H', W']"""
    return along_y.t() @ images @ along_x
