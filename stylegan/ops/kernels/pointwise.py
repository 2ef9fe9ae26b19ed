"""Triton code of what follows a convolution: scale, noise, bias, leaky ReLU, gain and clamp in one pass over memory.

N batch, C channels, P pixels. Sums over pixels are made in two stages, so that they add in the same order every time.
"""

import triton
import triton.language as tl


@triton.jit
def tile_of(num_tiles, tiles_c, BLOCK_C: tl.constexpr):
    """Channels [BLOCK_C], tile of pixels and image of this program; tiles of channels are neighbours in memory"""
    program = tl.program_id(0)
    c = program % tiles_c * BLOCK_C + tl.arange(0, BLOCK_C)
    return c, program // tiles_c % num_tiles, (program // tiles_c // num_tiles).to(tl.int64)


@triton.jit
def load_channels(pointer, offset, mask, NEUTRAL: tl.constexpr):
    """[1, channels], or what changes nothing where there are none"""
    if pointer is None:
        return NEUTRAL
    else:
        return tl.load(pointer + offset, mask=mask, other=0.0)[None, :]


@triton.jit
def load_noise(noise, strength, offset, mask):
    """Noise times strength [pixels, 1], or what changes nothing where there is none"""
    if noise is None:
        return -0.0  # x + -0.0 is x, also where x is 0, so no addition is compiled
    else:
        return (tl.load(noise + offset, mask=mask, other=0.0) * tl.load(strength))[:, None]


@triton.jit
def activate(value, factor, noise, shift, gain, clamp, SLOPE: tl.constexpr, CLAMPS: tl.constexpr):
    """clamp(gain * lrelu(value * factor + noise + shift))  value [pixels, channels]"""
    value = value * factor + noise + shift
    if SLOPE != 1.0:
        value = tl.where(value > 0, value, value * SLOPE)
    value *= gain
    if CLAMPS:
        value = tl.clamp(value, -clamp, clamp, propagate_nan=tl.PropagateNan.ALL)
    return value


@triton.jit
def slope_of(result, gain, clamp, SLOPE: tl.constexpr, CLAMPS: tl.constexpr):
    """Derivative of the activation, from its result"""
    slope = tl.zeros_like(result) + gain
    if SLOPE != 1.0:
        slope = tl.where(result > 0, gain, gain * SLOPE)
    if CLAMPS:
        slope = tl.where(tl.abs(result) < clamp, slope, 0.0)
    return slope


@triton.jit
def before_scale(kept, noise, shift, gain, IS_INPUT: tl.constexpr, SLOPE: tl.constexpr):
    """x * scale, from the result of scale_bias_act; or x where that was kept instead. Anything where it was clamped."""
    if IS_INPUT:
        return kept
    value = kept * (1 / gain)
    if SLOPE != 1.0 and SLOPE != 0.0:
        value = tl.where(kept > 0, value, value * (1 / SLOPE))
    return value - noise - shift


@triton.jit(do_not_specialize=["tiles", "tiles_c"])
def scale_bias_act_kernel(
    x, out, scale, noise, strength, bias, num_channels, num_pixels, tiles, tiles_c, noise_stride, x_n, x_c, x_p,
    gain, clamp, SLOPE: tl.constexpr, CLAMPS: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """x, out: of the same strides"""
    c, tile, n = tile_of(tiles, tiles_c, BLOCK_C)
    p = tile * BLOCK_P + tl.arange(0, BLOCK_P)
    mask = (p < num_pixels)[:, None] & (c < num_channels)[None, :]
    offset = n * x_n + ((p * x_p)[:, None] + (c * x_c)[None, :])
    value = tl.load(x + offset, mask=mask, other=0.0).to(tl.float32)
    factor = load_channels(scale, n * num_channels + c, c < num_channels, 1.0)
    shift = load_channels(bias, c, c < num_channels, -0.0)
    noises = load_noise(noise, strength, n * noise_stride + p, p < num_pixels)
    value = activate(value, factor, noises, shift, gain, clamp, SLOPE, CLAMPS)
    tl.store(out + offset, value.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["tiles", "parts", "tiles_c", "sum_size"])
def scale_bias_act_backward_kernel(
    grad, kept, grad_x, sums, scale, noise, strength, bias, num_channels, num_pixels, tiles, parts, tiles_c,
    noise_stride, x_n, x_c, x_p, sum_size, gain, clamp,
    IS_INPUT: tl.constexpr, SUMS_SCALE: tl.constexpr, SUMS_BIAS: tl.constexpr, SUMS_NOISE: tl.constexpr,
    SLOPE: tl.constexpr, CLAMPS: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """grad_x, and sums over pixels [3, N, parts, C] of the gradients of scale, bias and noise strength

    Each element of a tile is summed over tiles first, so that threads add up theirs once, in the end.
    """
    c, part, n = tile_of(parts, tiles_c, BLOCK_C)
    is_channel = c < num_channels
    factor = load_channels(scale, n * num_channels + c, is_channel, 1.0)
    shift = load_channels(bias, c, is_channel, -0.0)
    of_scale = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    of_bias = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    of_noise = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for tile in range(tiles):
        p = (part * tiles + tile) * BLOCK_P + tl.arange(0, BLOCK_P)
        mask = (p < num_pixels)[:, None] & is_channel[None, :]
        offset = n * x_n + ((p * x_p)[:, None] + (c * x_c)[None, :])
        value = tl.load(kept + offset, mask=mask, other=0.0).to(tl.float32)
        inner = tl.load(grad + offset, mask=mask, other=0.0).to(tl.float32)
        inner *= slope_of(value, gain, clamp, SLOPE, CLAMPS)
        if SUMS_SCALE:
            noises = load_noise(noise, strength, n * noise_stride + p, p < num_pixels)
            of_scale += inner * before_scale(value, noises, shift, gain, IS_INPUT, SLOPE)
        if SUMS_BIAS:
            of_bias += inner
        if SUMS_NOISE:
            of_noise += inner * tl.load(noise + n * noise_stride + p, mask=p < num_pixels, other=0.0)[:, None]
        inner *= factor
        tl.store(grad_x + offset, inner.to(grad_x.dtype.element_ty), mask=mask)
    at = sums + (n * parts + part) * num_channels + c
    if SUMS_SCALE:
        total = tl.sum(of_scale, axis=0)
        if not IS_INPUT and scale is not None:
            total /= tl.load(scale + n * num_channels + c, mask=is_channel, other=1.0)
        tl.store(at, total, mask=is_channel)
    if SUMS_BIAS:
        tl.store(at + sum_size, tl.sum(of_bias, axis=0), mask=is_channel)
    if SUMS_NOISE:
        tl.store(at + 2 * sum_size, tl.sum(of_noise, axis=0), mask=is_channel)


@triton.jit(do_not_specialize=["tiles", "parts", "tiles_c"])
def scale_bias_act_double_backward_kernel(
    grad_grad_x, grad_sum, grad, kept, grad_grad, grad_kept, sums, scale, noise, strength, bias,
    num_channels, num_pixels, tiles, parts, tiles_c, noise_stride, x_n, x_c, x_p, gain, clamp,
    IS_INPUT: tl.constexpr, SLOPE: tl.constexpr, CLAMPS: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """From the gradients of grad_x and of sum_p(grad slope x) [N, C], those of grad, of what was kept, and of scale"""
    c, part, n = tile_of(parts, tiles_c, BLOCK_C)
    is_channel = c < num_channels
    factor = tl.load(scale + n * num_channels + c, mask=is_channel, other=1.0)[None, :]
    weight = tl.load(grad_sum + n * num_channels + c, mask=is_channel, other=0.0)[None, :]
    shift = load_channels(bias, c, is_channel, -0.0)
    if not IS_INPUT:
        weight /= factor
    of_scale = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for tile in range(tiles):
        p = (part * tiles + tile) * BLOCK_P + tl.arange(0, BLOCK_P)
        mask = (p < num_pixels)[:, None] & is_channel[None, :]
        offset = n * x_n + ((p * x_p)[:, None] + (c * x_c)[None, :])
        value = tl.load(kept + offset, mask=mask, other=0.0).to(tl.float32)
        outer = tl.load(grad + offset, mask=mask, other=0.0).to(tl.float32)
        slope = slope_of(value, gain, clamp, SLOPE, CLAMPS)
        noises = load_noise(noise, strength, n * noise_stride + p, p < num_pixels)
        of_grad = weight * before_scale(value, noises, shift, gain, IS_INPUT, SLOPE)
        of_kept = weight * outer * slope if IS_INPUT else tl.where(slope == 0, 0.0, weight * outer)
        if grad_grad_x is not None:
            above = tl.load(grad_grad_x + offset, mask=mask, other=0.0).to(tl.float32)
            of_grad += above * factor
            of_scale += above * outer * slope
        tl.store(grad_grad + offset, (of_grad * slope).to(grad_grad.dtype.element_ty), mask=mask)
        tl.store(grad_kept + offset, of_kept.to(grad_kept.dtype.element_ty), mask=mask)
    tl.store(sums + (n * parts + part) * num_channels + c, tl.sum(of_scale, axis=0), mask=is_channel)
