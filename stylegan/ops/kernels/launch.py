"""Launches the Triton kernels: sizes of tiles, strides, and the second stage of sums.

N batch, C channels, H W image.
"""

import math
from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from stylegan.ops.kernels import pointwise, resampling
from stylegan.ops.kernels.library import empty_like, layout_of, upfirdn2d_size

TILE = 2048  # elements that a program holds at once: 16 for each thread of 4 warps
MAX_CHANNELS = 128  # of a tile; 256 bytes in half precision, two whole cache lines
PROGRAMS = 2048  # that sums are spread over, some for each multiprocessor


def upfirdn2d(
    x: Tensor, f: Tensor, other: Tensor | None, scale: Tensor | None, noise: Tensor | None, strength: Tensor | None,
    bias: Tensor | None, up: Sequence[int], down: Sequence[int], padding: Sequence[int], fir_gain: float, flip: bool,
    slope: float, gain: float, clamp: float | None,
) -> Tensor:  # fmt: skip
    """x [N, C, H, W], f [fh, fw], up and down (x, y), one of them 1 on each axis, padding (x0, x1, y0, y1)"""
    n, c, h, w = x.shape
    layout = layout_of(x)
    x = x.contiguous(memory_format=layout)
    size = upfirdn2d_size((h, w), f.shape, up, down, padding)
    out = empty_like(x, (n, c, *size))
    other = None if other is None else other.to(x.dtype).contiguous(memory_format=layout)
    block_y, block_x, block_c = _tile_of_pixels(c, layout)
    tiles_y, tiles_x = triton.cdiv(-(-size[0] // up[1]), block_y), triton.cdiv(-(-size[1] // up[0]), block_x)
    if out.numel() == 0:
        return out
    grid = (up[0] * up[1] * tiles_y * tiles_x, triton.cdiv(c, block_c), n)
    resampling.upfirdn2d_kernel[grid](
        x, f.float().contiguous(), out, other, _float(scale), _float(noise), _float(strength), _float(bias),
        c, h, w, *size, tiles_y, tiles_x, _noise_stride(noise), *_strides(x), *_strides(out),
        padding[2], padding[0], float(fir_gain), float(gain), float(clamp or 0),
        UP_Y=up[1], UP_X=up[0], DOWN_Y=down[1], DOWN_X=down[0], TAPS_Y=f.shape[0], TAPS_X=f.shape[1], FLIP=flip,
        HAS_OTHER=other is not None, HAS_SCALE=scale is not None, HAS_NOISE=noise is not None,
        HAS_BIAS=bias is not None, SLOPE=slope, CLAMPS=clamp is not None,
        BLOCK_Y=block_y, BLOCK_X=block_x, BLOCK_C=block_c,
    )  # fmt: skip
    return out


def scale_bias_act(
    x: Tensor, scale: Tensor | None, noise: Tensor | None, strength: Tensor | None, bias: Tensor | None,
    slope: float, gain: float, clamp: float | None,
) -> Tensor:  # fmt: skip
    """clamp(gain * lrelu(x * scale + noise * strength + bias))"""
    x = x.contiguous(memory_format=layout_of(x))
    out = empty_like(x)
    if x.numel() == 0:
        return out
    n, c, pixels, (x_n, x_c, x_p) = _pixels(x)
    block_p, block_c = _tile(c, pixels, x_c)
    pointwise.scale_bias_act_kernel[triton.cdiv(pixels, block_p), triton.cdiv(c, block_c), n](
        x, out, _float(scale), _float(noise), _float(strength), _float(bias), c, pixels, _noise_stride(noise),
        x_n, x_c, x_p, float(gain), float(clamp or 0), HAS_SCALE=scale is not None, HAS_NOISE=noise is not None,
        HAS_BIAS=bias is not None, SLOPE=slope, CLAMPS=clamp is not None, BLOCK_P=block_p, BLOCK_C=block_c,
    )  # fmt: skip
    return out


def scale_bias_act_backward(
    grad: Tensor, kept: Tensor, scale: Tensor | None, noise: Tensor | None, strength: Tensor | None,
    bias: Tensor | None, slope: float, gain: float, clamp: float | None, is_input: bool, wants: Sequence[bool],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradient of x, and sums over pixels [3, N, C] that make those of scale (times scale), bias and strength"""
    kept = kept.contiguous(memory_format=layout_of(kept))
    grad = grad.to(kept.dtype).contiguous(memory_format=layout_of(kept))
    n, c, pixels, (x_n, x_c, x_p) = _pixels(kept)
    grad_x = empty_like(kept)
    rows = n if any(wants) else 0
    if kept.numel() == 0:
        return grad_x, kept.new_zeros(3, rows, c, dtype=torch.float32)
    block_p, block_c = _tile(c, pixels, x_c)
    tiles, parts = _parts(n, c, pixels, block_p, block_c)
    sums = kept.new_zeros(3, rows, parts, c, dtype=torch.float32)
    pointwise.scale_bias_act_backward_kernel[parts, triton.cdiv(c, block_c), n](
        grad, kept, grad_x, sums, _float(scale), _float(noise), _float(strength), _float(bias), c, pixels,
        _noise_stride(noise), parts, x_n, x_c, x_p, sums.stride(0), float(gain), float(clamp or 0),
        IS_INPUT=is_input, HAS_SCALE=scale is not None, HAS_NOISE=noise is not None, HAS_BIAS=bias is not None,
        SUMS_SCALE=wants[0], SUMS_BIAS=wants[1], SUMS_NOISE=wants[2], SLOPE=slope, CLAMPS=clamp is not None,
        TILES=tiles, BLOCK_P=block_p, BLOCK_C=block_c,
    )  # fmt: skip
    return grad_x, sums.sum(dim=2)


def scale_bias_act_double_backward(
    grad_grad_x: Tensor | None, grad_sum: Tensor, grad: Tensor, kept: Tensor, scale: Tensor, noise: Tensor | None,
    strength: Tensor | None, bias: Tensor | None, slope: float, gain: float, clamp: float | None, is_input: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of grad and of what was kept, and sums over pixels [N, C] of grad_grad_x * slope * grad"""
    kept = kept.contiguous(memory_format=layout_of(kept))
    grad = grad.to(kept.dtype).contiguous(memory_format=layout_of(kept))
    if grad_grad_x is not None:
        grad_grad_x = grad_grad_x.to(kept.dtype).contiguous(memory_format=layout_of(kept))
    n, c, pixels, (x_n, x_c, x_p) = _pixels(kept)
    grad_grad, grad_kept = empty_like(kept), empty_like(kept)
    if kept.numel() == 0:
        return grad_grad, grad_kept, torch.zeros_like(grad_sum)
    block_p, block_c = _tile(c, pixels, x_c)
    tiles, parts = _parts(n, c, pixels, block_p, block_c)
    sums = kept.new_empty(n, parts, c, dtype=torch.float32)
    pointwise.scale_bias_act_double_backward_kernel[parts, triton.cdiv(c, block_c), n](
        grad_grad_x, grad_sum.float().contiguous(), grad, kept, grad_grad, grad_kept, sums, _float(scale),
        _float(noise), _float(strength), _float(bias), c, pixels, _noise_stride(noise), parts, x_n, x_c, x_p,
        float(gain), float(clamp or 0), IS_INPUT=is_input, HAS_GRAD_X=grad_grad_x is not None,
        HAS_NOISE=noise is not None, HAS_BIAS=bias is not None, SLOPE=slope, CLAMPS=clamp is not None,
        TILES=tiles, BLOCK_P=block_p, BLOCK_C=block_c,
    )  # fmt: skip
    return grad_grad, grad_kept, sums.sum(dim=1)


def _float(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.float().contiguous()


def _noise_stride(noise: Tensor | None) -> int:
    """Elements from one image's noise to the next; 0 where all share it"""
    return 0 if noise is None or noise.shape[0] == 1 else noise[0].numel()


def _strides(x: Tensor) -> tuple[int, int, int, int]:
    """(n, c, y, x) as the memory is, also along dimensions of one element, for which torch may report others"""
    _, c, h, w = x.shape
    if layout_of(x) == torch.contiguous_format:
        return c * h * w, h * w, w, 1
    return h * w * c, 1, w * c, c


def _pixels(x: Tensor) -> tuple[int, int, int, tuple[int, int, int]]:
    """N, C, H * W, and the strides (n, c, pixel)"""
    n, c, h, w = x.shape
    x_n, x_c, _, x_x = _strides(x)
    return n, c, h * w, (x_n, x_c, x_x)


def _tile(channels: int, pixels: int, channel_stride: int) -> tuple[int, int]:
    """Pixels and channels of a tile: along memory as far as it goes"""
    if channel_stride == 1:
        block_c = min(triton.next_power_of_2(channels), MAX_CHANNELS)
        return min(TILE // block_c, triton.next_power_of_2(pixels)), block_c
    return min(TILE, triton.next_power_of_2(pixels)), 1


def _tile_of_pixels(channels: int, layout: torch.memory_format) -> tuple[int, int, int]:
    """Rows, columns and channels of a tile of upfirdn2d"""
    if layout == torch.contiguous_format:
        return 16, 64, 1
    block_c = min(triton.next_power_of_2(channels), MAX_CHANNELS // 2)
    pixels = TILE // block_c
    block_y = 2 ** (int(math.log2(pixels)) // 2)
    return block_y, pixels // block_y, block_c


def _parts(n: int, channels: int, pixels: int, block_p: int, block_c: int) -> tuple[int, int]:
    """Tiles that one program adds up, and programs over the pixels of an image"""
    tiles = triton.cdiv(pixels, block_p)
    programs = tiles * n * triton.cdiv(channels, block_c)
    each = min(triton.next_power_of_2(max(programs // PROGRAMS, 1)), 64, triton.next_power_of_2(tiles))
    return each, triton.cdiv(tiles, each)
