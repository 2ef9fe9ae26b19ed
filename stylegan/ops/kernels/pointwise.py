"""Triton code of what follows a convolution: scale, noise, bias, leaky ReLU, gain and clamp in one pass over memory.

N batch, C channels, P pixels. Sums over pixels are made in two stages, so that they add in the same order every time.
"""

import triton
import triton.language as tl


@triton.jit
def bias_and_activate(
    value, scale, noise, strength, bias, n, c, pixel, num_channels, noise_stride, gain, clamp,
    HAS_SCALE: tl.constexpr, HAS_NOISE: tl.constexpr, HAS_BIAS: tl.constexpr, SLOPE: tl.constexpr,
    CLAMPS: tl.constexpr,
):  # fmt: skip
    """clamp(gain * lrelu(value * scale + noise * strength + bias))  value [pixels, channels]"""
    if HAS_SCALE:
        value *= tl.load(scale + n * num_channels + c, mask=c < num_channels, other=0.0)[None, :]
    if HAS_NOISE:
        value += tl.load(noise + n * noise_stride + pixel)[:, None] * tl.load(strength)
    if HAS_BIAS:
        value += tl.load(bias + c, mask=c < num_channels, other=0.0)[None, :]
    if SLOPE != 1.0:
        value = tl.where(value > 0, value, value * SLOPE)
    value *= gain
    if CLAMPS:  # by comparisons, which let a NaN pass
        value = tl.where(value > clamp, clamp, value)
        value = tl.where(value < -clamp, -clamp, value)
    return value


@triton.jit
def slope_of(result, gain, clamp, SLOPE: tl.constexpr, CLAMPS: tl.constexpr):
    """Derivative of the activation, from its result"""
    slope = tl.zeros_like(result) + gain
    if SLOPE != 1.0:
        slope = tl.where(result > 0, slope, slope * SLOPE)
    if CLAMPS:
        slope = tl.where(tl.abs(result) < clamp, slope, 0.0)
    return slope


@triton.jit
def scale_bias_act_kernel(
    x, out, scale, noise, strength, bias, num_channels, num_pixels, noise_stride, x_n, x_c, x_p, gain, clamp,
    HAS_SCALE: tl.constexpr, HAS_NOISE: tl.constexpr, HAS_BIAS: tl.constexpr, SLOPE: tl.constexpr,
    CLAMPS: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """x, out: of the same strides"""
    n = tl.program_id(2).to(tl.int64)
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask = (p < num_pixels)[:, None] & (c < num_channels)[None, :]
    offset = n * x_n + (p * x_p)[:, None] + (c * x_c)[None, :]
    value = tl.load(x + offset, mask=mask, other=0.0).to(tl.float32)
    value = bias_and_activate(
        value, scale, noise, strength, bias, n, c, tl.where(p < num_pixels, p, 0), num_channels, noise_stride, gain,
        clamp, HAS_SCALE, HAS_NOISE, HAS_BIAS, SLOPE, CLAMPS,
    )  # fmt: skip
    tl.store(out + offset, value.to(out.dtype.element_ty), mask=mask)


@triton.jit
def before_scale(
    kept, slope, noise, strength, bias, n, c, pixel, num_channels, noise_stride,
    IS_INPUT: tl.constexpr, HAS_NOISE: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """x * scale, from the result of scale_bias_act; or x where that was kept instead. Anything where it was clamped."""
    if IS_INPUT:
        return kept
    value = kept / tl.where(slope == 0, 1.0, slope)
    if HAS_NOISE:
        value -= tl.load(noise + n * noise_stride + pixel)[:, None] * tl.load(strength)
    if HAS_BIAS:
        value -= tl.load(bias + c, mask=c < num_channels, other=0.0)[None, :]
    return value


@triton.jit
def scale_bias_act_backward_kernel(
    grad, kept, grad_x, sums, scale, noise, strength, bias, num_channels, num_pixels, noise_stride, num_parts,
    x_n, x_c, x_p, sum_size, gain, clamp,
    IS_INPUT: tl.constexpr, HAS_SCALE: tl.constexpr, HAS_NOISE: tl.constexpr, HAS_BIAS: tl.constexpr,
    SUMS_SCALE: tl.constexpr, SUMS_NOISE: tl.constexpr, SUMS_BIAS: tl.constexpr,
    SLOPE: tl.constexpr, CLAMPS: tl.constexpr, TILES: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """grad_x, and sums over pixels [3, N, parts, C] of the gradients of scale (times scale), bias and noise strength"""
    n = tl.program_id(2).to(tl.int64)
    part = tl.program_id(0)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    of_scale = tl.zeros((BLOCK_C,), tl.float32)
    of_bias = tl.zeros((BLOCK_C,), tl.float32)
    of_noise = tl.zeros((BLOCK_C,), tl.float32)
    for tile in range(TILES):
        p = (part * TILES + tile) * BLOCK_P + tl.arange(0, BLOCK_P)
        mask = (p < num_pixels)[:, None] & (c < num_channels)[None, :]
        offset = n * x_n + (p * x_p)[:, None] + (c * x_c)[None, :]
        pixel = tl.where(p < num_pixels, p, 0)
        value = tl.load(kept + offset, mask=mask, other=0.0).to(tl.float32)
        slope = slope_of(value, gain, clamp, SLOPE, CLAMPS)
        inner = tl.load(grad + offset, mask=mask, other=0.0).to(tl.float32) * slope
        if SUMS_SCALE:
            scaled = before_scale(
                value, slope, noise, strength, bias, n, c, pixel, num_channels, noise_stride,
                IS_INPUT, HAS_NOISE, HAS_BIAS,
            )  # fmt: skip
            of_scale += tl.sum(inner * scaled, axis=0)
        if SUMS_BIAS:
            of_bias += tl.sum(inner, axis=0)
        if SUMS_NOISE:
            of_noise += tl.sum(inner * tl.load(noise + n * noise_stride + pixel)[:, None], axis=0)
        if HAS_SCALE:
            inner *= tl.load(scale + n * num_channels + c, mask=c < num_channels, other=0.0)[None, :]
        tl.store(grad_x + offset, inner.to(grad_x.dtype.element_ty), mask=mask)
    at = (n * num_parts + part) * num_channels + c
    if SUMS_SCALE:
        tl.store(sums + at, of_scale, mask=c < num_channels)
    if SUMS_BIAS:
        tl.store(sums + sum_size + at, of_bias, mask=c < num_channels)
    if SUMS_NOISE:
        tl.store(sums + 2 * sum_size + at, of_noise, mask=c < num_channels)


@triton.jit
def scale_bias_act_double_backward_kernel(
    grad_grad_x, grad_sum, grad, kept, grad_grad, grad_kept, sums, scale, noise, strength, bias,
    num_channels, num_pixels, noise_stride, num_parts, x_n, x_c, x_p, gain, clamp,
    IS_INPUT: tl.constexpr, HAS_GRAD_X: tl.constexpr, HAS_NOISE: tl.constexpr, HAS_BIAS: tl.constexpr,
    SLOPE: tl.constexpr, CLAMPS: tl.constexpr, TILES: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """From the gradients of grad_x and of sum_p(grad slope x) [N, C], those of grad, of what was kept, and of scale"""
    n = tl.program_id(2).to(tl.int64)
    part = tl.program_id(0)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    at = n * num_channels + c
    factor = tl.load(scale + at, mask=c < num_channels, other=1.0)[None, :]
    weight = tl.load(grad_sum + at, mask=c < num_channels, other=0.0)[None, :]
    of_scale = tl.zeros((BLOCK_C,), tl.float32)
    for tile in range(TILES):
        p = (part * TILES + tile) * BLOCK_P + tl.arange(0, BLOCK_P)
        mask = (p < num_pixels)[:, None] & (c < num_channels)[None, :]
        offset = n * x_n + (p * x_p)[:, None] + (c * x_c)[None, :]
        pixel = tl.where(p < num_pixels, p, 0)
        value = tl.load(kept + offset, mask=mask, other=0.0).to(tl.float32)
        slope = slope_of(value, gain, clamp, SLOPE, CLAMPS)
        scaled = before_scale(
            value, slope, noise, strength, bias, n, c, pixel, num_channels, noise_stride, IS_INPUT, HAS_NOISE, HAS_BIAS
        )
        outer = tl.load(grad + offset, mask=mask, other=0.0).to(tl.float32)
        if IS_INPUT:
            of_grad, of_kept = weight * scaled, weight * outer * slope
        else:
            of_grad = weight * scaled / factor
            of_kept = tl.where(slope == 0, 0.0, weight * outer / factor)
        if HAS_GRAD_X:
            above = tl.load(grad_grad_x + offset, mask=mask, other=0.0).to(tl.float32)
            of_grad += above * factor
            of_scale += tl.sum(above * outer * slope, axis=0)
        tl.store(grad_grad + offset, (of_grad * slope).to(grad_grad.dtype.element_ty), mask=mask)
        tl.store(grad_kept + offset, of_kept.to(grad_kept.dtype.element_ty), mask=mask)
    tl.store(sums + (n * num_parts + part) * num_channels + c, of_scale, mask=c < num_channels)
