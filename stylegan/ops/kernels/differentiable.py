"""The kernels as functions that autograd knows: each derivative is a kernel too, also those of R1 and path length.

N batch, C channels, H W image.
"""

from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

import stylegan.ops.kernels.library  # noqa: F401 - defines torch.ops.stylegan

Optional: TypeAlias = Tensor | None
Activation: TypeAlias = tuple[float, float, float | None]  # slope, gain, clamp
LINEAR: Activation = (1.0, 1.0, None)


def scale_bias_act(
    x: Tensor, scale: Optional, noise: Optional, strength: Optional, bias: Optional, activation: Activation
) -> Tensor:
    """clamp(gain * lrelu(x * scale + noise * strength + bias))

    x [N, C, H, W], scale [N, C], noise [N or 1, 1, H, W], strength [], bias [C] -> [N, C, H, W]
    """
    out: Tensor = _ScaleBiasAct.apply(x, scale, noise, strength, bias, activation)  # type: ignore[no-untyped-call]
    return out


def modulate(x: Tensor, styles: Tensor) -> Tensor:
    """x [N, C, H, W] times styles [N, C]"""
    out: Tensor = _Modulate.apply(x, styles)  # type: ignore[no-untyped-call]
    return out


def upfirdn2d(
    x: Tensor, f: Tensor, other: Optional, up: tuple[int, int], down: tuple[int, int],
    padding: tuple[int, int, int, int], gain: float, flip: bool, scale: Optional = None, noise: Optional = None,
    strength: Optional = None, bias: Optional = None, activation: Activation = LINEAR,
) -> Tensor:  # fmt: skip
    """scale_bias_act of upfirdn2d(x) + other, in one pass; not differentiable itself, unlike what calls it"""
    after = (scale, noise, strength, bias)
    out: Tensor = torch.ops.stylegan.upfirdn2d(x, f, other, *after, up, down, padding, gain, flip, *activation)
    return out


def prepare_weight(
    weight: Tensor, dtype: torch.dtype, *, gain: float = 1.0, normalizes: bool = False, wants_squares: bool = False,
    transposed: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """weight [O, I, k, k] times gain, in the precision and layout of a convolution, and sums of its squares [O, I]

    normalizes: divides each kernel by its largest element, through which no gradient flows.
    transposed: of the layout that a transposed convolution reads.
    """
    settings = (gain, normalizes, wants_squares, transposed, dtype)
    out, squares = _PrepareWeight.apply(weight, *settings)  # type: ignore[no-untyped-call]
    return out, squares


def demodulate(styles: Tensor, squares: Tensor, *, normalizes: bool) -> tuple[Tensor, Tensor]:
    """Styles [N, I], and demodulation factors 1 / norm of each image's kernels [N, O] (Karras et al. 2020, Eq. 3)

    squares [O, I]: of the weights, summed over the kernel. normalizes: divides each image's styles by their largest,
    through which no gradient flows.
    """
    scaled, dcoefs = _Demodulate.apply(styles, squares, normalizes)  # type: ignore[no-untyped-call]
    return scaled, dcoefs


class _PrepareWeight(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, gain: float, normalizes: bool, wants_squares: bool, transposed: bool,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        out, squares, factors = torch.ops.stylegan.prepare_weight(
            weight, gain, normalizes, wants_squares, transposed, dtype
        )
        ctx.save_for_backward(weight, factors)
        ctx.set_materialize_grads(False)
        return out, squares

    @staticmethod
    def backward(ctx: Any, *grads: Optional) -> tuple[Optional, ...]:
        (grad, grad_squares), (weight, factors) = grads, ctx.saved_tensors
        if grad is None and grad_squares is None:
            return None, None, None, None, None, None
        if not torch.is_grad_enabled():
            grad_weight = torch.ops.stylegan.prepare_weight_backward(grad, grad_squares, weight, factors)
            return grad_weight, None, None, None, None, None
        factor = factors[:, None, None, None]
        total = torch.zeros_like(weight) if grad is None else factor * grad.to(weight.dtype)
        if grad_squares is not None:
            total = total + 2 * factor**2 * weight * grad_squares[:, :, None, None]
        return total, None, None, None, None, None


class _Demodulate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, styles: Tensor, squares: Tensor, normalizes: bool) -> tuple[Tensor, Tensor]:
        scaled, dcoefs, factors = torch.ops.stylegan.demodulate(styles, squares, normalizes)
        ctx.save_for_backward(scaled, squares, dcoefs, factors)
        ctx.set_materialize_grads(False)
        return scaled, dcoefs

    @staticmethod
    def backward(ctx: Any, *grads: Optional) -> tuple[Optional, Optional, None]:
        (grad_scaled, grad_dcoefs), (scaled, squares, dcoefs, factors) = grads, ctx.saved_tensors
        if grad_dcoefs is None:
            return None if grad_scaled is None else grad_scaled * factors[:, None], None, None
        saved = (scaled, squares, dcoefs, factors)
        grad_styles, grad_squares = _DemodulateGradients.apply(  # type: ignore[no-untyped-call]
            grad_scaled, grad_dcoefs, *saved
        )
        return grad_styles, grad_squares, None


class _DemodulateGradients(torch.autograd.Function):
    """factor * (grad_scaled + 2 scaled (t squares)) and t^T scaled^2, with t = -grad_dcoefs dcoefs^3 / 2"""

    @staticmethod
    def forward(
        ctx: Any, grad_scaled: Optional, grad_dcoefs: Tensor, scaled: Tensor, squares: Tensor, dcoefs: Tensor,
        factors: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        saved = (grad_dcoefs, scaled, squares, dcoefs, factors)
        ctx.save_for_backward(*saved)
        ctx.set_materialize_grads(False)
        found: tuple[Tensor, Tensor] = torch.ops.stylegan.demodulate_backward(grad_scaled, *saved)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Optional) -> tuple[Optional, ...]:
        grad_dcoefs, scaled, squares, dcoefs, factors = ctx.saved_tensors
        for_styles, for_squares = grads
        cubes = -(dcoefs**3)
        t = grad_dcoefs * cubes  # twice the t above, as for_t is half its gradient
        for_t = grad_scaled = for_scaled = grad_squares = None
        if for_styles is not None:
            grad_scaled = for_styles * factors[:, None]
            product = grad_scaled * scaled
            for_t, grad_squares, for_scaled = product @ squares.t(), t.t() @ product, grad_scaled * (t @ squares)
        if for_squares is not None:
            more_t, more_scaled = 0.5 * scaled.square() @ for_squares.t(), scaled * (t @ for_squares)
            for_t = more_t if for_t is None else for_t + more_t
            for_scaled = more_scaled if for_scaled is None else for_scaled + more_scaled
        if for_t is None:
            return None, None, None, None, None, None
        grad_scaled = grad_scaled if ctx.needs_input_grad[0] else None  # which there may have been none of
        return grad_scaled, for_t * cubes, for_scaled, grad_squares, 3 * for_t * t / dcoefs, None


class _ScaleBiasAct(torch.autograd.Function):
    """Keeps its result only: the activation's derivative follows from that, and what it was applied to as well."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Optional, noise: Optional, strength: Optional, bias: Optional,
        activation: Activation,
    ) -> Tensor:  # fmt: skip
        out: Tensor = torch.ops.stylegan.scale_bias_act(x, scale, noise, strength, bias, *activation)
        ctx.save_for_backward(out, scale, noise, strength, bias)
        ctx.activation = activation
        ctx.set_materialize_grads(False)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Optional) -> tuple[Optional, ...]:
        if grads[0] is None:
            return None, None, None, None, None, None
        _, needs_scale, _, needs_strength, needs_bias, _ = ctx.needs_input_grad
        wants = (needs_scale, needs_bias, needs_strength)
        out, scale, noise, strength, bias = ctx.saved_tensors
        grad_x, of_scale, of_bias, of_strength = gradients(
            grads[0], out, scale, noise, strength, bias, ctx.activation, False, wants
        )
        return grad_x, of_scale, None, of_strength, of_bias, None


class _Modulate(torch.autograd.Function):
    """Keeps its input, which whatever made it keeps as well; its result would not tell x where a style is zero."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, styles: Tensor) -> Tensor:
        ctx.save_for_backward(x, styles)
        ctx.set_materialize_grads(False)
        out: Tensor = torch.ops.stylegan.scale_bias_act(x, styles, None, None, None, *LINEAR)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Optional) -> tuple[Optional, ...]:
        if grads[0] is None:
            return None, None
        x, styles = ctx.saved_tensors
        wants = (ctx.needs_input_grad[1], False, False)
        grad_x, of_styles, _, _ = gradients(grads[0], x, styles, None, None, None, LINEAR, True, wants)
        return grad_x, of_styles


def gradients(
    grad: Tensor, kept: Tensor, scale: Optional, noise: Optional, strength: Optional, bias: Optional,
    activation: Activation, is_input: bool, wants: tuple[bool, bool, bool],
) -> tuple[Tensor, Optional, Optional, Optional]:  # fmt: skip
    """Gradients of x, scale [N, C], bias [C] and strength [] of scale_bias_act; the last three where wanted.

    kept: its result, or where is_input x itself
    """
    after = (scale, noise, strength, bias)
    wants = (wants[0], wants[1], wants[2] and noise is not None)
    grad_x, of_scale, of_bias, of_strength = _Gradients.apply(  # type: ignore[no-untyped-call]
        grad, kept, *after, activation, is_input, wants
    )
    return grad_x, of_scale, of_bias, of_strength


class _Gradients(torch.autograd.Function):
    """Piecewise linear in grad, and through the sum that makes the gradient of scale, in x.

    Where the result was kept, x is (result / slope - noise * strength - bias) / scale in that.
    """

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, kept: Tensor, scale: Optional, noise: Optional, strength: Optional, bias: Optional,
        activation: Activation, is_input: bool, wants: tuple[bool, bool, bool],
    ) -> tuple[Optional, ...]:  # fmt: skip
        after = (scale, noise, strength, bias)
        # Derivatives of the gradient of scale need the other sums as well.
        sums_of = (wants[0], wants[1] or (wants[0] and bias is not None), wants[2] or (wants[0] and noise is not None))
        grad_x, sums, totals = torch.ops.stylegan.scale_bias_act_backward(
            grad, kept, *after, *activation, is_input, sums_of
        )
        # Without scale the derivative is that of a constant times grad, which needs not be kept.
        ctx.save_for_backward(None if scale is None else grad, kept, *after, sums)
        ctx.activation, ctx.is_input = activation, is_input
        ctx.set_materialize_grads(False)
        return (
            grad_x, sums[0] if wants[0] else None, totals[0] if wants[1] else None,
            totals[1].sum() if wants[2] else None,
        )  # fmt: skip

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Optional) -> tuple[Optional, ...]:
        above, for_scale, for_bias, for_strength = grads
        grad, kept, scale, noise, strength, bias, sums = ctx.saved_tensors
        after, activation = (scale, noise, strength, bias), ctx.activation
        grad_grad = grad_kept = grad_scale = grad_strength = grad_bias = None
        if scale is not None and (above is not None or for_scale is not None):
            weight = torch.zeros_like(scale) if for_scale is None else for_scale
            grad_grad, grad_kept, grad_scale = torch.ops.stylegan.scale_bias_act_double_backward(
                above, weight, grad, kept, *after, *activation, ctx.is_input
            )
            if for_scale is not None and not ctx.is_input:
                through_x = sums * (for_scale / scale)
                grad_scale = grad_scale - through_x[0]
                totals = -through_x[1:].sum(dim=1)
                grad_bias = None if bias is None else totals[0]
                grad_strength = None if noise is None else totals[1].sum()
        elif above is not None:
            grad_grad = _times_slope(above, kept, activation)
        for term in _broadcast_terms(for_bias, for_strength, noise, kept):
            more = _times_slope(term, kept, activation)
            grad_grad = more if grad_grad is None else grad_grad + more
        return grad_grad, grad_kept, grad_scale, None, grad_strength, grad_bias, None, None, None


def _times_slope(x: Tensor, kept: Tensor, activation: Activation) -> Tensor:
    """The activation's derivative times x"""
    nothing = (None, None, None, None)
    out: Tensor
    out, *_ = torch.ops.stylegan.scale_bias_act_backward(x, kept, *nothing, *activation, False, (False, False, False))
    return out


def _broadcast_terms(for_bias: Optional, for_strength: Optional, noise: Optional, like: Tensor) -> list[Tensor]:
    """What the gradients of bias and strength pass on to every pixel"""
    terms = [] if for_bias is None else [for_bias[:, None, None]]
    if for_strength is not None and noise is not None:
        terms.append(for_strength * noise)
    return [term.to(like.dtype).expand_as(like) for term in terms]
