"""Launches the Triton kernels: sizes of tiles, strides, and the second stage of sums.

N batch, C channels, H W image.
"""

import math
from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from stylegan.ops.kernels import pointwise, resampling, weights
from stylegan.ops.kernels.library import empty_like, empty_sums, empty_weight, layout_of, upfirdn2d_size

TILE = 2048  # elements that a program holds at once: 16 for each thread of 4 warps
MAX_CHANNELS = 128  # of a tile; 256 bytes in half precision, two whole cache lines
SMALL = 64  # rows and columns of a tile of small matrices
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
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradient of x, sums over pixels [3, N, C] of those of scale, bias and strength, and of the last two over all"""
    kept = kept.contiguous(memory_format=layout_of(kept))
    grad = grad.to(kept.dtype).contiguous(memory_format=layout_of(kept))
    n, c, pixels, (x_n, x_c, x_p) = _pixels(kept)
    grad_x, (sums, totals) = empty_like(kept), empty_sums(kept, wants)
    if kept.numel() == 0:
        return grad_x, sums.zero_(), totals.zero_()
    block_p, block_c = _tile(c, pixels, x_c)
    tiles, parts = _parts(n, c, pixels, block_p, block_c)
    partial = torch.zeros(len(sums), n, parts, c, dtype=torch.float32, device=kept.device)
    pointwise.scale_bias_act_backward_kernel[parts, triton.cdiv(c, block_c), n](
        grad, kept, grad_x, partial, _float(scale), _float(noise), _float(strength), _float(bias), c, pixels,
        _noise_stride(noise), parts, x_n, x_c, x_p, n * parts * c, float(gain), float(clamp or 0),
        IS_INPUT=is_input, HAS_SCALE=scale is not None, HAS_NOISE=noise is not None, HAS_BIAS=bias is not None,
        SUMS_SCALE=wants[0], SUMS_BIAS=wants[1], SUMS_NOISE=wants[2], SLOPE=slope, CLAMPS=clamp is not None,
        TILES=tiles, BLOCK_P=block_p, BLOCK_C=block_c,
    )  # fmt: skip
    if len(sums):
        torch.sum(partial, dim=2, out=sums)
    if wants[0] and not is_input and scale is not None:
        sums[0] /= scale  # the kernel adds up gradients of x * scale times x * scale
    if len(totals):
        torch.sum(sums[1:], dim=1, out=totals)
    return grad_x, sums, totals


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


def prepare_weight(
    weight: Tensor, gain: float, normalizes: bool, wants_squares: bool, transposed: bool, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """weight [O, I, k, k] times its factors [O] in another precision, and sums of its squares over the kernel [O, I]"""
    o, i, h, w = weight.shape
    weight, out = weight.contiguous(), empty_weight(weight, dtype, transposed)
    squares = torch.empty((o, i) if wants_squares else (0, 0), dtype=torch.float32, device=weight.device)
    factors = torch.empty(o, dtype=torch.float32, device=weight.device)
    weights.prepare_weight_kernel[(o,)](
        weight, out, squares, factors, i, i * h * w, h * w, 1, out.stride(0), out.stride(1), out.stride(3),
        float(gain), NORMALIZES=normalizes, SQUARES=wants_squares, K=h * w,
        BLOCK_I=min(triton.next_power_of_2(i), 128), BLOCK_K=triton.next_power_of_2(h * w),
    )  # fmt: skip
    return out, squares, factors


def prepare_weight_backward(
    grad: Tensor | None, grad_squares: Tensor | None, weight: Tensor, factors: Tensor
) -> Tensor:
    """Gradient of the weight from those of what prepare_weight made of it"""
    o, i, h, w = weight.shape
    weight = weight.contiguous()
    if grad is not None and grad.stride(2) != w * grad.stride(3):
        grad = grad.contiguous()
    grad_weight = torch.empty_like(weight)
    strides = (0, 0, 0) if grad is None else (grad.stride(0), grad.stride(1), grad.stride(3))
    block_i = min(triton.next_power_of_2(i), 128)
    weights.prepare_weight_backward_kernel[o, triton.cdiv(i, block_i)](
        grad, _float(grad_squares), weight, factors, grad_weight, i, *strides, i * h * w, h * w, 1,
        HAS_GRAD=grad is not None, HAS_SQUARES=grad_squares is not None, K=h * w, BLOCK_I=block_i,
        BLOCK_K=triton.next_power_of_2(h * w),
    )  # fmt: skip
    return grad_weight


def demodulate(styles: Tensor, squares: Tensor, normalizes: bool) -> tuple[Tensor, Tensor, Tensor]:
    """styles [N, I] times their factors [N], demodulation factors [N, O] for squares [O, I], and the factors"""
    (n, i), o = styles.shape, len(squares)
    styles, squares = styles.contiguous(), squares.contiguous()
    scaled, dcoefs, factors = styles.new_empty(n, i), styles.new_empty(n, o), styles.new_empty(n)
    if n:
        weights.demodulate_kernel[n, triton.cdiv(o, SMALL)](
            styles, squares, scaled, dcoefs, factors, i, o, NORMALIZES=normalizes, BLOCK_I=SMALL, BLOCK_O=SMALL
        )
    return scaled, dcoefs, factors


def demodulate_backward(
    grad_scaled: Tensor | None, grad_dcoefs: Tensor, scaled: Tensor, squares: Tensor, dcoefs: Tensor, factors: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of styles and squares"""
    (n, i), o = scaled.shape, len(squares)
    grad_dcoefs, scaled, squares = grad_dcoefs.contiguous(), scaled.contiguous(), squares.contiguous()
    grad_scaled = None if grad_scaled is None else grad_scaled.contiguous()
    grad_styles, grad_squares = scaled.new_empty(n, i), squares.new_empty(o, i)
    blocks = {"BLOCK_I": SMALL, "BLOCK_O": SMALL}
    if n:
        weights.demodulate_backward_styles_kernel[n, triton.cdiv(i, SMALL)](
            grad_scaled, grad_dcoefs, scaled, squares, dcoefs, factors, grad_styles, i, o,
            HAS_SCALED=grad_scaled is not None, **blocks,
        )  # fmt: skip
    weights.demodulate_backward_squares_kernel[triton.cdiv(o, SMALL), triton.cdiv(i, SMALL)](
        grad_dcoefs, scaled, dcoefs, grad_squares, n, i, o, **blocks
    )
    return grad_styles, grad_squares


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
