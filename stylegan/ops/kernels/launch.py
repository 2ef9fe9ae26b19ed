"""Launches the Triton kernels: sizes of tiles, strides, and the second stage of sums.

N batch, C channels, H W image.
"""

import functools
from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from stylegan.ops.kernels import pointwise, resampling, weights
from stylegan.ops.kernels.library import empty_like, empty_sums, empty_weight, layout_of, upfirdn2d_size

TILE = 2048  # elements that a program holds at once: 16 for each thread of 4 warps
TILE_OF_SUMS = 1024  # where sums of each element are held next to it
MAX_HELD = 4096  # sums, and taps of a row, that upfirdn2d holds: 32 for each thread
MAX_CHANNELS = 128  # of a tile; 256 bytes in half precision, two whole cache lines
SMALL = 64  # rows and columns of a tile of small matrices
FEW = 32  # of those that few programs share, or that more registers follow
PROGRAMS = 2048  # that long work is spread over, some for each multiprocessor
MAX_TILES = 64  # that one program adds up
MIN_ROWS, MAX_ROWS = 8, 32  # that one program filters


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
    if out.numel() == 0:
        return out
    held = max(triton.cdiv(f.shape[0], up[1] * down[1]), triton.cdiv(f.shape[1], up[0]))
    rows, strips, tile = _strips(out, up[1], held)
    tiles, tiles_c = _tiles((strips * size[1], c), tile)
    resampling.upfirdn2d_kernel[_grid(x, out, n * up[1] * tiles * tiles_c)](
        x, f.float().contiguous(), out, other, _float(scale), _float(noise), _float(strength), _float(bias),
        c, h, w, *size, rows, tiles, tiles_c, _noise_stride(noise), *_strides(x), *_strides(out),
        padding[2], padding[0], float(fir_gain), float(gain), _limit(clamp, x.dtype),
        UP_Y=up[1], UP_X=up[0], DOWN_Y=down[1], DOWN_X=down[0], TAPS_Y=f.shape[0], TAPS_X=f.shape[1], FLIP=flip,
        SLOPE=slope, CLAMPS=clamp is not None, READ=down[1], BLOCK_X=tile[0], BLOCK_C=tile[1],
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
    n, c, pixels, strides = _pixels(x)
    tile = _tile(c, pixels, strides[1], TILE)
    tiles, tiles_c = _tiles((pixels, c), tile)
    pointwise.scale_bias_act_kernel[_grid(x, out, n * tiles * tiles_c)](
        x, out, _float(scale), _float(noise), _float(strength), _float(bias), c, pixels, tiles, tiles_c,
        _noise_stride(noise), *strides, float(gain), _limit(clamp, x.dtype), SLOPE=slope, CLAMPS=clamp is not None,
        BLOCK_P=tile[0], BLOCK_C=tile[1],
    )  # fmt: skip
    return out


def scale_bias_act_backward(
    grad: Tensor, kept: Tensor, scale: Tensor | None, noise: Tensor | None, strength: Tensor | None,
    bias: Tensor | None, slope: float, gain: float, clamp: float | None, is_input: bool, wants: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradient of x, sums over pixels [3, N, C] of those of scale, bias and strength, and of the last two over all"""
    kept = kept.contiguous(memory_format=layout_of(kept))
    grad = grad.to(kept.dtype).contiguous(memory_format=layout_of(kept))
    n, c, pixels, strides = _pixels(kept)
    grad_x, (sums, totals) = empty_like(kept), empty_sums(kept, wants)
    if kept.numel() == 0:
        return grad_x, sums.zero_(), totals.zero_()
    tile = _tile(c, pixels, strides[1], TILE_OF_SUMS)
    each, parts, tiles_c = _parts(n, c, pixels, tile)
    partial = torch.zeros(len(sums), n, parts, c, dtype=torch.float32, device=kept.device)
    pointwise.scale_bias_act_backward_kernel[_grid(kept, kept, n * parts * tiles_c)](
        grad, kept, grad_x, partial, _float(scale), _float(noise), _float(strength), _float(bias), c, pixels,
        each, parts, tiles_c, _noise_stride(noise), *strides, n * parts * c, float(gain), _limit(clamp, kept.dtype),
        IS_INPUT=is_input, SUMS_SCALE=wants[0], SUMS_BIAS=wants[1], SUMS_NOISE=wants[2], SLOPE=slope,
        CLAMPS=clamp is not None, BLOCK_P=tile[0], BLOCK_C=tile[1],
    )  # fmt: skip
    if len(sums):
        torch.sum(partial, dim=2, out=sums)
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
    n, c, pixels, strides = _pixels(kept)
    grad_grad, grad_kept = empty_like(kept), empty_like(kept)
    if kept.numel() == 0:
        return grad_grad, grad_kept, torch.zeros_like(grad_sum)
    tile = _tile(c, pixels, strides[1], TILE_OF_SUMS)
    each, parts, tiles_c = _parts(n, c, pixels, tile)
    sums = kept.new_empty(n, parts, c, dtype=torch.float32)
    pointwise.scale_bias_act_double_backward_kernel[_grid(kept, kept, n * parts * tiles_c)](
        grad_grad_x, grad_sum.float().contiguous(), grad, kept, grad_grad, grad_kept, sums, _float(scale),
        _float(noise), _float(strength), _float(bias), c, pixels, each, parts, tiles_c, _noise_stride(noise), *strides,
        float(gain), _limit(clamp, kept.dtype), IS_INPUT=is_input, SLOPE=slope, CLAMPS=clamp is not None,
        BLOCK_P=tile[0], BLOCK_C=tile[1],
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
        weights.demodulate_kernel[n, triton.cdiv(o, FEW)](
            styles, squares, scaled, dcoefs, factors, i, o, NORMALIZES=normalizes, BLOCK_I=SMALL, BLOCK_O=FEW
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
    if n:
        weights.demodulate_backward_styles_kernel[n, triton.cdiv(i, SMALL)](
            grad_scaled, grad_dcoefs, scaled, squares, dcoefs, factors, grad_styles, i, o,
            HAS_SCALED=grad_scaled is not None, BLOCK_I=SMALL, BLOCK_O=SMALL,
        )  # fmt: skip
    weights.demodulate_backward_squares_kernel[triton.cdiv(o, FEW), triton.cdiv(i, FEW)](
        grad_dcoefs, scaled, dcoefs, grad_squares, n, i, o, BLOCK_I=FEW, BLOCK_O=FEW
    )
    return grad_styles, grad_squares


@functools.cache
def _limit(clamp: float | None, dtype: torch.dtype) -> float:
    """clamp as a result of this precision holds it, or a gradient could not tell what was clamped"""
    return 0.0 if clamp is None else float(torch.tensor(clamp, dtype=dtype, device="cpu"))


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


def _tile(channels: int, pixels: int, channel_stride: int, size: int) -> tuple[int, int]:
    """Pixels and channels of a tile: along memory as far as it goes"""
    if channel_stride == 1:
        block_c = min(triton.next_power_of_2(channels), MAX_CHANNELS)
        return min(size // block_c, triton.next_power_of_2(pixels)), block_c
    return min(size, triton.next_power_of_2(pixels)), 1


def _strips(out: Tensor, up: int, held: int) -> tuple[int, int, tuple[int, int]]:
    """Rows of a strip, which one program makes one after the other, strips, and columns and channels of a tile

    Higher strips read fewer pixels twice, more of them keep all multiprocessors at work. held: numbers that a thread
    holds for each of its pixels.
    """
    n, c, h, w = out.shape
    block_c = 1 if layout_of(out) == torch.contiguous_format else min(triton.next_power_of_2(c), MAX_CHANNELS // 2)
    block_x = max(min(TILE_OF_SUMS, MAX_HELD // triton.next_power_of_2(held)) // block_c, 1)
    rows = n * triton.cdiv(w, block_x) * triton.cdiv(c, block_c) * h // PROGRAMS
    rows, height = min(max(rows, MIN_ROWS), MAX_ROWS), triton.cdiv(h, up)
    strips = max(round(height / rows), 1)
    return triton.cdiv(height, strips), strips, (block_x, block_c)


def _tiles(size: Sequence[int], tile: Sequence[int]) -> list[int]:
    """Along each dimension"""
    return [triton.cdiv(elements, block) for elements, block in zip(size, tile, strict=True)]


def _parts(n: int, channels: int, pixels: int, tile: tuple[int, int]) -> tuple[int, int, int]:
    """Tiles that one program adds up, programs over the pixels of an image, and over its channels"""
    tiles, tiles_c = _tiles((pixels, channels), tile)
    each = triton.next_power_of_2(max(tiles * n * tiles_c // PROGRAMS, 1))
    each = min(each, MAX_TILES, triton.next_power_of_2(tiles))
    return each, triton.cdiv(tiles, each), tiles_c


def _grid(x: Tensor, out: Tensor, programs: int) -> tuple[int]:
    """Raises ValueError if an image, or the programs of a launch, need more than 32 bits to count."""
    elements = max(x[0].numel(), out[0].numel())
    if max(elements, programs) >= 2**31:
        raise ValueError(
            f"tensor of shape {list(x.shape)}: {elements:,} elements an image in {programs:,} programs; kernels take "
            "fewer than 2,147,483,648 of both. Use smaller images or batches, or train.kernels: stock."
        )
    return (programs,)
