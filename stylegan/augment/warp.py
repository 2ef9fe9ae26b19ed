"""Resampling of images at warped pixels, through a grid of twice the density (Karras et al. 2020a, App. B.2).

N batch, C channels, H W image.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.augment import transforms as T
from stylegan.ops import setup_filter, upfirdn2d, upsample2d

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
DENSE_SIZE = 128


def warp(images: Tensor, inverse: Tensor) -> Tensor:
    """Each output pixel is taken from where `inverse` maps it; beyond the border the image is mirrored.

    images [N, C, H, W], inverse [N, 3, 3] about the image centre and on the CPU -> [N, C, H, W]
    Only images that move are resampled: the filters reconstruct the others perfectly, so the result is the same.
    """
    moving = (inverse != torch.eye(3)).any(dim=2).any(dim=1).nonzero()[:, 0]
    if moving.numel() == 0:
        return images
    if moving.numel() == images.shape[0]:
        return resample(images, inverse)
    index = moving.to(images.device)
    return images.index_copy(0, index, resample(images[index], inverse[moving]))


def resample(images: Tensor, inverse: Tensor) -> Tensor:
    """`warp` of every image, moving or not"""
    h, w = images.shape[2:]
    x0, x1, y0, y1 = _margins(inverse, h, w)
    inverse = T.translate2d((x0 - x1) / 2, (y0 - y1) / 2) @ inverse
    images = _pad_upsample(images, (x0, x1, y0, y1))
    # Pixel centres of the doubled grid lie half a pixel off its origin.
    half = T.translate2d(-0.5, -0.5)
    inverse = half @ T.scale2d(2.0, 2.0) @ inverse @ T.scale2d(0.5, 0.5) @ T.translate2d(0.5, 0.5)
    out_h, out_w = (h + BORDER * 2) * 2, (w + BORDER * 2) * 2
    to_unit = T.scale2d(2 / images.shape[3], 2 / images.shape[2])
    theta = (to_unit @ inverse @ T.scale2d(out_w / 2, out_h / 2))[:, :2].to(images)
    grid = _affine_grid(theta, out_h, out_w)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return _crop_downsample(images, BORDER * 2)


def _margins(inverse: Tensor, h: int, w: int) -> tuple[int, int, int, int]:
    """Pixels to add on each side (x0, x1, y0, y1), enough for the image that reaches furthest out."""
    cx, cy = (w - 1) / 2, (h - 1) / 2
    corners = torch.tensor([[-cx, -cy, 1], [cx, -cy, 1], [cx, cy, 1], [-cx, cy, 1]])
    reach = (inverse @ corners.t())[:, :2].transpose(0, 1).flatten(1)  # [2, N * 4]
    excess = torch.cat([-reach, reach]).amax(dim=1) + torch.tensor([-cx, -cy, -cx, -cy]) + BORDER * 2
    x0, y0, x1, y1 = excess.clamp(min=0).minimum(torch.tensor([w - 1, h - 1] * 2)).ceil().int().tolist()
    return x0, x1, y0, y1


def _affine_grid(theta: Tensor, h: int, w: int) -> Tensor:
    """As F.affine_grid of unaligned corners, by a sum instead of a product of thin matrices  -> [N, h, w, 2]"""
    x = (torch.arange(w, device=theta.device, dtype=theta.dtype) * 2 + 1) / w - 1
    y = (torch.arange(h, device=theta.device, dtype=theta.dtype) * 2 + 1) / h - 1
    along_x = theta[:, None, None, :, 0] * x[:, None]  # [N, 1, w, 2]
    along_y = theta[:, None, None, :, 1] * y[:, None, None] + theta[:, None, None, :, 2]  # [N, h, 1, 2]
    return along_x + along_y


def _pad_upsample(images: Tensor, margins: tuple[int, int, int, int]) -> Tensor:
    """Mirror the margins and double the density  [N, C, H, W] -> [N, C, 2 (y0 + H + y1), 2 (x0 + W + x1)]"""
    h, w = images.shape[2:]
    if max(h, w) > DENSE_SIZE:
        return upsample2d(F.pad(images, margins, mode="reflect"), setup_filter(SYM6).to(images.device))
    x0, x1, y0, y1 = margins
    return _apply(images, _upsampling(h, y0, y1), _upsampling(w, x0, x1))


def _crop_downsample(images: Tensor, crop: int) -> Tensor:
    """Halve the density, leaving out the outer pixels  [N, C, H, W] -> [N, C, H / 2 - crop, W / 2 - crop]"""
    h, w = images.shape[2:]
    if max(h, w) // 2 - crop > DENSE_SIZE:
        pad = _downsampling_pad(crop)
        f = setup_filter(SYM6).to(images.device)
        return upfirdn2d(images, f, down=2, padding=(*pad, *pad), flip_filter=True)
    return _apply(images, _downsampling(h, crop), _downsampling(w, crop))


@lru_cache(maxsize=256)  # margins differ from batch to batch, but mostly reach the whole image
@torch.inference_mode(mode=False)  # kept for later calls, which may want gradients
def _upsampling(size: int, before: int, after: int) -> Tensor:
    """Matrix that mirrors the margins of a row and doubles its density  -> [size, 2 (before + size + after)]"""
    rows = F.pad(torch.eye(size)[None, None], (before, after, 0, 0), mode="reflect")
    pad = ((TAPS + 1) // 2, (TAPS - 2) // 2, 0, 0)
    return upfirdn2d(rows, setup_filter(SYM6)[None], up=(2, 1), padding=pad, gain=2)[0, 0]


@lru_cache(maxsize=256)
@torch.inference_mode(mode=False)
def _downsampling(size: int, crop: int) -> Tensor:
    """Matrix that halves the density of a row without its outer pixels  -> [size, size / 2 - crop]"""
    rows, pad = torch.eye(size)[None, None], (*_downsampling_pad(crop), 0, 0)
    return upfirdn2d(rows, setup_filter(SYM6)[None], down=(2, 1), padding=pad, flip_filter=True)[0, 0]


def _downsampling_pad(crop: int) -> tuple[int, int]:
    return (TAPS - 1) // 2 - crop, (TAPS - 2) // 2 - crop


def _apply(images: Tensor, along_y: Tensor, along_x: Tensor) -> Tensor:
    """Linear maps [H, H'] of the columns and [W, W'] of the rows of images  [N, C, H, W] -> [N, C, H', W']"""
    return along_y.t().to(images) @ images @ along_x.to(images)
