"""Triton code that scales and casts a convolution's weight, and sums its squares for demodulation, in one pass.

O out-channels, I in-channels, K pixels of the kernel.
"""

import triton
import triton.language as tl


@triton.jit
def prepare_weight_kernel(
    weight, out, squares, factors, num_in, w_o, w_i, w_k, out_o, out_i, out_k, gain,
    NORMALIZES: tl.constexpr, SQUARES: tl.constexpr, K: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """out = weight * factor and sums over K of its squares; the factor is gain, over the largest if NORMALIZES"""
    o = tl.program_id(0)
    k = tl.arange(0, BLOCK_K)
    factor = gain
    if NORMALIZES:
        largest = tl.zeros((BLOCK_I,), tl.float32)
        for start in range(0, num_in, BLOCK_I):
            i = start + tl.arange(0, BLOCK_I)
            mask = (i < num_in)[:, None] & (k < K)[None, :]
            value = tl.load(weight + o * w_o + (i * w_i)[:, None] + (k * w_k)[None, :], mask=mask, other=0.0)
            largest = tl.maximum(largest, tl.max(tl.abs(value), axis=1))
        factor = gain / tl.maximum(tl.max(largest, axis=0), 1e-8)
    tl.store(factors + o, factor)
    for start in range(0, num_in, BLOCK_I):
        i = start + tl.arange(0, BLOCK_I)
        mask = (i < num_in)[:, None] & (k < K)[None, :]
        value = tl.load(weight + o * w_o + (i * w_i)[:, None] + (k * w_k)[None, :], mask=mask, other=0.0) * factor
        at = o * out_o + (i * out_i)[:, None] + (k * out_k)[None, :]
        tl.store(out + at, value.to(out.dtype.element_ty), mask=mask)
        if SQUARES:
            tl.store(squares + o * num_in + i, tl.sum(value * value, axis=1), mask=i < num_in)


@triton.jit
def prepare_weight_backward_kernel(
    grad, grad_squares, weight, factors, grad_weight, num_in, g_o, g_i, g_k, w_o, w_i, w_k,
    HAS_GRAD: tl.constexpr, HAS_SQUARES: tl.constexpr, K: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """factor * (grad + 2 * weight * factor * grad_squares), with the layout of weight"""
    o = tl.program_id(0)
    i = tl.program_id(1) * BLOCK_I + tl.arange(0, BLOCK_I)
    k = tl.arange(0, BLOCK_K)
    mask = (i < num_in)[:, None] & (k < K)[None, :]
    at = o * w_o + (i * w_i)[:, None] + (k * w_k)[None, :]
    factor = tl.load(factors + o)
    total = tl.zeros((BLOCK_I, BLOCK_K), tl.float32)
    if HAS_GRAD:
        total += tl.load(grad + o * g_o + (i * g_i)[:, None] + (k * g_k)[None, :], mask=mask, other=0.0).to(tl.float32)
    if HAS_SQUARES:
        of_square = tl.load(grad_squares + o * num_in + i, mask=i < num_in, other=0.0)[:, None]
        total += 2 * factor * of_square * tl.load(weight + at, mask=mask, other=0.0)
    tl.store(grad_weight + at, total * factor, mask=mask)


@triton.jit
def demodulate_kernel(
    styles, squares, scaled, dcoefs, factors, num_in, num_out,
    NORMALIZES: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_O: tl.constexpr,
):  # fmt: skip
    """scaled = styles, over the largest of the image if NORMALIZES, and dcoefs = rsqrt(scaled^2 squares^T + eps)"""
    n = tl.program_id(0)
    o = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
    factor = 1.0
    if NORMALIZES:
        largest = tl.zeros((BLOCK_I,), tl.float32)
        for start in range(0, num_in, BLOCK_I):
            i = start + tl.arange(0, BLOCK_I)
            largest = tl.maximum(largest, tl.abs(tl.load(styles + n * num_in + i, mask=i < num_in, other=0.0)))
        factor = 1.0 / tl.maximum(tl.max(largest, axis=0), 1e-8)
    tl.store(factors + n, factor)
    total = tl.zeros((BLOCK_O,), tl.float32)
    for start in range(0, num_in, BLOCK_I):
        i = start + tl.arange(0, BLOCK_I)
        style = tl.load(styles + n * num_in + i, mask=i < num_in, other=0.0) * factor
        tl.store(scaled + n * num_in + i, style, mask=i < num_in)
        mask = (o < num_out)[:, None] & (i < num_in)[None, :]
        square = tl.load(squares + (o * num_in)[:, None] + i[None, :], mask=mask, other=0.0)
        total += tl.sum(square * (style * style)[None, :], axis=1)
    tl.store(dcoefs + n * num_out + o, 1.0 / tl.sqrt(total + 1e-8), mask=o < num_out)


@triton.jit
def demodulate_backward_styles_kernel(
    grad_scaled, grad_dcoefs, scaled, squares, dcoefs, factors, grad_styles, num_in, num_out,
    HAS_SCALED: tl.constexpr, BLOCK_I: tl.constexpr, BLOCK_O: tl.constexpr,
):  # fmt: skip
    """factor * (grad_scaled + 2 scaled (t squares)) with t = -grad_dcoefs dcoefs^3 / 2"""
    n = tl.program_id(0)
    i = tl.program_id(1) * BLOCK_I + tl.arange(0, BLOCK_I)
    total = tl.zeros((BLOCK_I,), tl.float32)
    for start in range(0, num_out, BLOCK_O):
        o = start + tl.arange(0, BLOCK_O)
        d = tl.load(dcoefs + n * num_out + o, mask=o < num_out, other=0.0)
        t = -0.5 * tl.load(grad_dcoefs + n * num_out + o, mask=o < num_out, other=0.0) * d * d * d
        mask = (o < num_out)[:, None] & (i < num_in)[None, :]
        square = tl.load(squares + (o * num_in)[:, None] + i[None, :], mask=mask, other=0.0)
        total += tl.sum(t[:, None] * square, axis=0)
    total *= 2 * tl.load(scaled + n * num_in + i, mask=i < num_in, other=0.0)
    if HAS_SCALED:
        total += tl.load(grad_scaled + n * num_in + i, mask=i < num_in, other=0.0)
    tl.store(grad_styles + n * num_in + i, total * tl.load(factors + n), mask=i < num_in)


@triton.jit
def demodulate_backward_squares_kernel(
    grad_dcoefs, scaled, dcoefs, grad_squares, num_images, num_in, num_out,
    BLOCK_I: tl.constexpr, BLOCK_O: tl.constexpr,
):  # fmt: skip
    """t^T scaled^2 with t as above"""
    o = tl.program_id(0) * BLOCK_O + tl.arange(0, BLOCK_O)
    i = tl.program_id(1) * BLOCK_I + tl.arange(0, BLOCK_I)
    total = tl.zeros((BLOCK_O, BLOCK_I), tl.float32)
    for n in range(num_images):
        d = tl.load(dcoefs + n * num_out + o, mask=o < num_out, other=0.0)
        t = -0.5 * tl.load(grad_dcoefs + n * num_out + o, mask=o < num_out, other=0.0) * d * d * d
        style = tl.load(scaled + n * num_in + i, mask=i < num_in, other=0.0)
        total += t[:, None] * (style * style)[None, :]
    mask = (o < num_out)[:, None] & (i < num_in)[None, :]
    tl.store(grad_squares + (o * num_in)[:, None] + i[None, :], total, mask=mask)
