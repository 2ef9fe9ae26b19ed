"""Triton code of upfirdn2d: every output pixel gathers its taps, so nothing is written but the result.

N batch, C channels, H W image, taps of the filter.
"""

import triton
import triton.language as tl

from stylegan.ops.kernels.pointwise import bias_and_activate

FAR = tl.constexpr(2**20)  # pixels, more than any padding


@triton.jit
def upfirdn2d_kernel(
    x, f, out, other, scale, noise, strength, bias,  # pointers; the last five may be None
    num_channels, in_h, in_w, out_h, out_w, tiles_y, tiles_x, noise_stride,
    x_n, x_c, x_y, x_x, out_n, out_c, out_y, out_x,  # strides
    pad_y, pad_x, gain, act_gain, clamp,
    UP_Y: tl.constexpr, UP_X: tl.constexpr, DOWN_Y: tl.constexpr, DOWN_X: tl.constexpr,
    TAPS_Y: tl.constexpr, TAPS_X: tl.constexpr, FLIP: tl.constexpr,
    HAS_OTHER: tl.constexpr, HAS_SCALE: tl.constexpr, HAS_NOISE: tl.constexpr, HAS_BIAS: tl.constexpr,
    SLOPE: tl.constexpr, CLAMPS: tl.constexpr,
    BLOCK_Y: tl.constexpr, BLOCK_X: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """out = gain * FIR(x) + other, then what follows a convolution, where there is any of it

    Of an upsampled image each phase, the outputs of equal position modulo UP, is a filter of every UP-th tap.
    """
    tile = tl.program_id(0)
    n = tl.program_id(2).to(tl.int64)
    phase = tile // (tiles_y * tiles_x)
    tile = tile % (tiles_y * tiles_x)
    phase_y, phase_x = phase // UP_X, phase % UP_X
    pixel = tl.arange(0, BLOCK_Y * BLOCK_X)
    i_y = (tile // tiles_x) * BLOCK_Y + pixel // BLOCK_X
    i_x = (tile % tiles_x) * BLOCK_X + pixel % BLOCK_X
    o_y, o_x = i_y * UP_Y + phase_y, i_x * UP_X + phase_x
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    # First tap that meets a pixel and not an inserted zero, and that pixel. FAR keeps % and // on positive numbers.
    tap_y = (phase_y * (UP_Y - 1) + pad_y + FAR * UP_Y) % UP_Y
    tap_x = (phase_x * (UP_X - 1) + pad_x + FAR * UP_X) % UP_X
    first_y = i_y * DOWN_Y + (phase_y + tap_y - pad_y + FAR * UP_Y) // UP_Y - FAR
    first_x = i_x * DOWN_X + (phase_x + tap_x - pad_x + FAR * UP_X) // UP_X - FAR
    x += n * x_n
    acc = tl.zeros((BLOCK_Y * BLOCK_X, BLOCK_C), tl.float32)
    for j_y in range((TAPS_Y + UP_Y - 1) // UP_Y):
        t_y = tap_y + j_y * UP_Y
        y = first_y + j_y
        row = x + y * x_y
        in_row = (y >= 0) & (y < in_h)
        for j_x in tl.static_range((TAPS_X + UP_X - 1) // UP_X):
            t_x = tap_x + j_x * UP_X
            tap = t_y * TAPS_X + t_x if FLIP else (TAPS_Y - 1 - t_y) * TAPS_X + (TAPS_X - 1 - t_x)
            weight = tl.load(f + tap, mask=(t_y < TAPS_Y) & (t_x < TAPS_X), other=0.0)
            column = first_x + j_x
            inside = in_row & (column >= 0) & (column < in_w)
            value = tl.load(
                (row + column * x_x)[:, None] + (c * x_c)[None, :],
                mask=inside[:, None] & (c < num_channels)[None, :], other=0.0,
            )  # fmt: skip
            acc += weight * value.to(tl.float32)
    acc *= gain
    mask = ((o_y < out_h) & (o_x < out_w))[:, None] & (c < num_channels)[None, :]
    offset = n * out_n + (o_y * out_y + o_x * out_x)[:, None] + (c * out_c)[None, :]
    if HAS_OTHER:
        acc += tl.load(other + offset, mask=mask, other=0.0).to(tl.float32)
    at = tl.where(o_y < out_h, o_y * out_w + o_x, 0)
    acc = bias_and_activate(
        acc, scale, noise, strength, bias, n, c, at, num_channels, noise_stride, act_gain, clamp,
        HAS_SCALE, HAS_NOISE, HAS_BIAS, SLOPE, CLAMPS,
    )  # fmt: skip
    tl.store(out + offset, acc.to(out.dtype.element_ty), mask=mask)
