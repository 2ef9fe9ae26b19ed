"""Triton code of upfirdn2d: every pixel is read once for each column of the filter and adds to the rows it meets.

N batch, C channels, H W image, taps of the filter.
"""

import triton
import triton.language as tl

from stylegan.ops.kernels.pointwise import activate, load_channels, load_noise, tile_of

FAR = tl.constexpr(2**20)  # pixels, more than any padding


# Compiled for strides and channels that vectors of 16 fit, or do not, and not for each size and padding.
@triton.jit(
    do_not_specialize=[
        "in_h", "in_w", "out_h", "out_w", "rows", "tiles", "tiles_c", "noise_stride", "pad_y", "pad_x"
    ]
)  # fmt: skip
def upfirdn2d_kernel(
    x, f, out, other, scale, noise, strength, bias,  # pointers; the last five may be None
    num_channels, in_h, in_w, out_h, out_w, rows, tiles, tiles_c, noise_stride,
    x_n, x_c, x_y, x_x, out_n, out_c, out_y, out_x,  # strides
    pad_y, pad_x, gain, act_gain, clamp,
    UP_Y: tl.constexpr, UP_X: tl.constexpr, DOWN_Y: tl.constexpr, DOWN_X: tl.constexpr,
    TAPS_Y: tl.constexpr, TAPS_X: tl.constexpr, FLIP: tl.constexpr, SLOPE: tl.constexpr, CLAMPS: tl.constexpr,
    READ: tl.constexpr, BLOCK_X: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """out = gain * FIR(x) + other, then what follows a convolution, where there is any of it

    Each column of a tile makes `rows` rows, UP_Y apart, which all meet the same taps, TAPS_Y / UP_Y of them. It reads
    READ rows of x at a time, which add to the sums of as many results as taps / READ, so that each is loaded once.
    """
    TAPS_OF_ROW: tl.constexpr = (TAPS_Y + UP_Y - 1) // UP_Y
    TAPS_OF_COLUMN: tl.constexpr = (TAPS_X + UP_X - 1) // UP_X
    GROUPS: tl.constexpr = (TAPS_OF_ROW + READ - 1) // READ
    c, tile, n = tile_of(UP_Y * tiles, tiles_c, BLOCK_C)
    phase = tile % UP_Y
    place = tile // UP_Y * BLOCK_X + tl.arange(0, BLOCK_X)  # of all columns in the first rows, those in the next ones
    o_x = place % out_w
    first_row = place // out_w * rows
    # First tap that meets a pixel and not an inserted zero, and that pixel. FAR keeps% and // on positive numbers.
    tap_y = (pad_y - phase + FAR * UP_Y) % UP_Y
    tap_x = (pad_x - o_x + FAR * UP_X) % UP_X if UP_X > 1 else 0
    y = first_row * DOWN_Y + (phase + tap_y - pad_y + FAR * UP_Y) // UP_Y - FAR
    column = (o_x * DOWN_X + tap_x - pad_x + FAR * UP_X) // UP_X - FAR
    taps = ()
    for t in tl.static_range(GROUPS * READ):
        for j in tl.static_range(TAPS_OF_COLUMN):
            taps += (gain * load_tap(f, tap_y + t * UP_Y, tap_x + j * UP_X, TAPS_Y, TAPS_X, FLIP),)
    is_channel = (c < num_channels)[None, :]
    factor = load_channels(scale, n * num_channels + c, c < num_channels, 1.0)
    shift = load_channels(bias, c, c < num_channels, -0.0)
    x += n * x_n
    at_x = (y * x_y + column * x_x)[:, None] + (c * x_c)[None, :]
    first_y = first_row * UP_Y + phase
    at_out = (first_y * out_y + o_x * out_x)[:, None] + (c * out_c)[None, :]
    sums = ()
    for _ in tl.static_range(GROUPS):
        sums += (tl.zeros((BLOCK_X, BLOCK_C), tl.float32),)
    for step in range(rows + GROUPS - 1):
        for i in tl.static_range(READ):
            row = step * DOWN_Y + i
            pixels = x + row * x_y + at_x
            width = tl.where((y + row).to(tl.uint32) < in_h.to(tl.uint32), in_w, 0)  # of what there is of this row
            for j in tl.static_range(TAPS_OF_COLUMN):
                inside = (column + j).to(tl.uint32) < width.to(tl.uint32)
                value = tl.load(pixels + j * x_x, mask=inside[:, None] & is_channel, other=0.0).to(tl.float32)
                more = ()
                for g in tl.static_range(GROUPS):
                    tap = taps[((GROUPS - 1 - g) * READ + i) * TAPS_OF_COLUMN + j]
                    more += (sums[g] + tap * value,)
                sums = more
        further = (step - (GROUPS - 1)) * UP_Y
        o_y = first_y + further
        is_out = (further >= 0) & (o_y < out_h)
        mask = is_out[:, None] & is_channel
        at = n * out_n + further * out_y + at_out
        result = sums[0]
        if other is not None:
            result += tl.load(other + at, mask=mask, other=0.0).to(tl.float32)
        noises = load_noise(noise, strength, n * noise_stride + o_y * out_w + o_x, is_out)
        result = activate(result, factor, noises, shift, act_gain, clamp, SLOPE, CLAMPS)
        tl.store(out + at, result.to(out.dtype.element_ty), mask=mask)
        more = ()
        for g in tl.static_range(GROUPS - 1):
            more += (sums[g + 1],)
        more += (tl.zeros((BLOCK_X, BLOCK_C), tl.float32),)
        sums = more


@triton.jit
def load_tap(f, t_y, t_x, TAPS_Y: tl.constexpr, TAPS_X: tl.constexpr, FLIP: tl.constexpr):
    """Of a column each, where there are several in t_x; 0 beyond the filter"""
    at = t_y * TAPS_X + t_x if FLIP else (TAPS_Y - 1 - t_y) * TAPS_X + (TAPS_X - 1 - t_x)
    tap = tl.load(f + at, mask=(t_y < TAPS_Y) & (t_x < TAPS_X), other=0.0)
    return tap if len(at.shape) == 0 else tap[:, None]
