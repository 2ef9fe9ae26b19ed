"""The kernels of what follows a convolution, and of modulation, against stock torch.

Interpreted on the CPU, and compiled where there is CUDA.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stylegan.ops import bias_act, kernels, setup_filter, style_layer
from stylegan.ops.bias_act import Activation, scale_bias_act
from stylegan.ops.kernels import differentiable, launch
from tests.kernels import HALF, LAYOUTS, assert_equal_to_stock, derivatives, randn, wave

SHAPE = (2, 3, 3, 4)
# Inputs of the activation are sums of four terms; the derivative of scale is made from its result, back through them.
FP32 = 5e-6


def layer(
    noise: Tensor | None, act: Activation = "lrelu", gain: float = 1.5, clamp: float | None = None
) -> Callable[..., Tensor]:
    """What follows a convolution as a function of x, scale, bias and noise strength"""

    def function(x: Tensor, scale: Tensor, bias: Tensor, strength: Tensor) -> Tensor:
        return scale_bias_act(x, scale, noise, strength, bias, act, gain=gain, clamp=clamp)

    return function


def operands(shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, scale, bias and noise strength"""
    x = randn(*shape, device=device).contiguous(memory_format=torch.channels_last)
    scale, bias = randn(*shape[:2], device=device).abs() + 0.5, randn(shape[1], device=device)
    return x, scale, bias, randn(device=device)


# Every pair of choices; the kernel decides each by itself. images: 1 for noise that they share.
@pytest.mark.parametrize(
    ("images", "act", "clamp"),
    [(1, "lrelu", None), (SHAPE[0], "lrelu", 2.0), (1, "linear", 2.0), (SHAPE[0], "linear", None)],
)
def test_everything_at_once(act: Activation, clamp: float | None, images: int, kernel_device: torch.device) -> None:
    noise = randn(images, 1, *SHAPE[2:], device=kernel_device)
    function = layer(noise, act, clamp=clamp)
    assert_equal_to_stock(function, *operands(SHAPE, kernel_device), tolerance=FP32, runs="scale_bias_act")


@pytest.mark.parametrize(("has_noise", "has_scale"), [(False, False), (False, True), (True, False)])
def test_parts_may_be_left_out(has_noise: bool, has_scale: bool, kernel_device: torch.device) -> None:
    x, scale, bias, strength = operands(SHAPE, kernel_device)
    noise = randn(1, 1, *SHAPE[2:], device=kernel_device) if has_noise else None
    inputs = [x, bias, *([scale] if has_scale else []), *([strength] if has_noise else [])]

    def function(x: Tensor, bias: Tensor, *others: Tensor) -> Tensor:
        rest = list(others)
        scale, strength = rest.pop(0) if has_scale else None, rest.pop(0) if has_noise else None
        return scale_bias_act(x, scale, noise, strength, bias, "lrelu")

    assert_equal_to_stock(function, *inputs, tolerance=FP32, runs="scale_bias_act")


def test_a_noise_strength_without_noise_has_no_gradient(kernel_device: torch.device) -> None:
    """A generator that draws without noise still has strengths that learn."""
    assert_equal_to_stock(layer(None), *operands(SHAPE, kernel_device), tolerance=FP32, runs="scale_bias_act")


@pytest.mark.parametrize(("shape", "has_bias"), [((5, 7), True), ((2, 3, 2, 2), True), ((2, 3, 2, 2), False)])
def test_bias_act(shape: tuple[int, ...], has_bias: bool, kernel_device: torch.device) -> None:
    x, bias = randn(*shape, device=kernel_device), randn(shape[1], device=kernel_device)
    if has_bias:
        assert_equal_to_stock(lambda x, b: bias_act(x, b, "lrelu", gain=0.7, clamp=0.9), x, bias, runs="scale_bias_act")
    else:
        assert_equal_to_stock(lambda x: bias_act(x, None, "lrelu", gain=0.7), x, runs="scale_bias_act")


def test_only_what_wants_a_gradient_gets_one(kernel_device: torch.device) -> None:
    noise = randn(1, 1, *SHAPE[2:], device=kernel_device)
    everything = operands(SHAPE, kernel_device)
    for wanted in range(len(everything)):
        inputs = [x.detach().requires_grad_(index == wanted) for index, x in enumerate(everything)]
        both = []
        for mode in ("stock", "auto"):
            with kernels.using(mode):
                out = layer(noise)(*inputs)
                both.append(torch.autograd.grad(out, inputs[wanted], wave(out))[0])
        torch.testing.assert_close(both[1], both[0], rtol=FP32, atol=FP32)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((0, 3, 2, 2), torch.channels_last),  # no images
        ((0, 3, 2, 2), torch.contiguous_format),
        ((2, 3, 1, 1), torch.channels_last),  # one pixel
        ((1, 1, 3, 5), torch.contiguous_format),  # one channel: either layout
    ],
)
def test_sizes(shape: tuple[int, ...], layout: torch.memory_format, kernel_device: torch.device) -> None:
    x, *others = operands(shape, kernel_device)
    noise = randn(1, 1, *shape[2:], device=kernel_device)
    inputs = (x.contiguous(memory_format=layout), *others)
    assert_equal_to_stock(layer(noise), *inputs, tolerance=FP32, runs="scale_bias_act")


def test_more_channels_than_a_tile(kernel_device: torch.device) -> None:
    noise = randn(1, 1, 2, 2, device=kernel_device)
    assert_equal_to_stock(layer(noise), *operands((1, 130, 2, 2), kernel_device), tolerance=FP32)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_programs_that_add_up_several_tiles(
    layout: torch.memory_format, kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of large images: some programs of two tiles, the last of which are empty"""
    monkeypatch.setattr(launch, "TILE", 8)
    monkeypatch.setattr(launch, "PROGRAMS", 4)
    x, *others = operands((1, 2, 5, 6), kernel_device)
    noise = randn(1, 1, 5, 6, device=kernel_device)
    inputs = (x.contiguous(memory_format=layout), *others)
    assert_equal_to_stock(layer(noise), *inputs, tolerance=FP32)
    assert_equal_to_stock(modulated, inputs[0], others[0])


def test_inputs_and_gradients_that_are_not_dense(kernel_device: torch.device) -> None:
    _, scale, bias, strength = operands(SHAPE, kernel_device)
    noise = randn(2, 1, 4, 3, device=kernel_device).transpose(2, 3)
    whole = randn(2, 6, 3, 8, device=kernel_device)
    others = (scale.t().contiguous().t(), bias.repeat_interleave(2)[::2], strength)
    for x in (whole[:, ::2, :, ::2], whole[0, :3, :, 4:].expand(2, 3, 3, 4), whole[:, 3:, :, :4].mT.contiguous().mT):
        assert_equal_to_stock(layer(noise), x, *others, tolerance=FP32)
    x = whole[:, :3, :, :4]
    assert_equal_to_stock(lambda *args: layer(noise)(*args).sum(dim=3), x, *others, tolerance=FP32)
    assert_equal_to_stock(lambda *args: layer(noise)(*args).transpose(1, 3)[:, ::2], x, *others, tolerance=FP32)


def test_strides_of_dimensions_of_one_element_mean_nothing(kernel_device: torch.device) -> None:
    x = randn(1, 2, 3, 1, device=kernel_device).as_strided((1, 2, 3, 1), (7, 3, 1, 50))
    assert x.is_contiguous()
    others, noise = operands(tuple(x.shape), kernel_device)[1:], randn(1, 1, 3, 1, device=kernel_device)
    assert_equal_to_stock(layer(noise), x, *others, tolerance=FP32)


@pytest.mark.parametrize("dtype", HALF)
def test_half_precisions(dtype: torch.dtype, kernel_device: torch.device) -> None:
    """Scale, bias and their gradients are float32. The last derivatives are rounded twice, as is what they are of."""
    x, *others = operands(SHAPE, kernel_device)
    noise = randn(1, 1, *SHAPE[2:], device=kernel_device)
    x = x.to(dtype)
    assert_equal_to_stock(layer(noise, clamp=256), x, *others, tolerance=2 * HALF[dtype], runs="scale_bias_act")
    assert layer(noise)(x, *others).dtype == dtype


def modulated(x: Tensor, styles: Tensor) -> Tensor:
    if kernels.handles("scale_bias_act", x):
        return differentiable.modulate(x, styles)
    return x * styles[:, :, None, None]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_modulation_by_a_style_of_zero(layout: torch.memory_format, kernel_device: torch.device) -> None:
    """The result does not tell what was scaled by zero."""
    x, styles = randn(*SHAPE, device=kernel_device), randn(*SHAPE[:2], device=kernel_device)
    styles[0, 1] = 0
    assert_equal_to_stock(modulated, x.contiguous(memory_format=layout), styles, runs="scale_bias_act")


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((0, 3, 2, 2), torch.float32), ((0, 3, 2, 2), torch.float16), ((2, 3, 1, 1), torch.float32),
        ((1, 130, 1, 2), torch.float16),
    ],
)  # fmt: skip
def test_modulation_of_other_sizes(shape: tuple[int, ...], dtype: torch.dtype, kernel_device: torch.device) -> None:
    x, styles = randn(*shape, device=kernel_device, dtype=dtype), randn(*shape[:2], device=kernel_device)
    x = x.contiguous(memory_format=torch.channels_last)
    assert_equal_to_stock(modulated, x, styles, tolerance=HALF.get(dtype, FP32))


def test_clamped_values_have_no_gradient(kernel_device: torch.device) -> None:
    x = torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0], device=kernel_device).reshape(1, 1, 1, 5)
    got = derivatives(lambda x: bias_act(x, None, "linear", clamp=2.0), [x])
    assert got["value"].flatten().tolist() == [-2, -1, 0, 1, 2]
    assert (got["gradient of input 0"] != 0).flatten().tolist() == [False, True, True, True, False]


def with_bad_numbers(bad: float, clamp: float | None, device: torch.device) -> list[list[Tensor]]:
    """Value and gradients by stock torch and by kernels, of an input and a gradient that hold a bad number each"""
    x, *others = operands(SHAPE, device)
    noise, grad = torch.zeros(1, 1, *SHAPE[2:], device=device), torch.ones_like(x)
    x[0, 1, 2, 2] = bad
    grad[1, 2, 0, 1] = bad
    both = []
    for mode in ("stock", "auto"):
        inputs = [value.detach().requires_grad_() for value in (x, *others)]
        with kernels.using(mode):
            out = layer(noise, clamp=clamp)(*inputs)
            both.append([out, *torch.autograd.grad(out, inputs, grad)])
    return both


@pytest.mark.parametrize(
    ("bad", "clamp"), [(float("nan"), None), (float("nan"), 256), (float("inf"), None), (float("-inf"), None)]
)
def test_what_is_not_finite_shows(bad: float, clamp: float | None, kernel_device: torch.device) -> None:
    """Training stops at the first gradient that is not finite."""
    for want, got in zip(*with_bad_numbers(bad, clamp, kernel_device), strict=True):
        assert torch.equal(want.isfinite(), got.isfinite())
        assert not want.isfinite().all()


@pytest.mark.parametrize("bad", [float("inf"), float("-inf")])
def test_a_clamp_makes_infinities_finite(bad: float, kernel_device: torch.device) -> None:
    """The result is that of stock torch, and has no gradient there; stock torch gives scale 0 times infinity, a NaN."""
    want, got = with_bad_numbers(bad, 256.0, kernel_device)
    torch.testing.assert_close(got[0], want[0], rtol=FP32, atol=FP32)
    for index in (1, 3):
        assert torch.equal(want[index].isfinite(), got[index].isfinite())
    assert want[2][0, 1].isnan()
    assert got[2][0, 1].isfinite()
    assert not got[2][1, 2].isfinite()  # a bad gradient shows


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_parameter_shows(bad: float, kernel_device: torch.device) -> None:
    noise = randn(1, 1, *SHAPE[2:], device=kernel_device)
    for index in range(1, 4):
        inputs = [x.clone() for x in operands(SHAPE, kernel_device)]
        inputs[index].view(-1)[0] = bad
        assert not layer(noise)(*inputs).isfinite().all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sums_give_equal_bits_in_every_run(
    layout: torch.memory_format, kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "TILE", 8)
    x, *others = operands((1, 2, 4, 5), kernel_device)
    noise = randn(1, 1, 4, 5, device=kernel_device)
    inputs = (x.contiguous(memory_format=layout), *others)
    runs = [derivatives(layer(noise), inputs) for _ in range(2)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


@pytest.mark.parametrize("dtype", HALF)
def test_a_clamp_that_half_precision_rounds_clamps_the_gradient(
    dtype: torch.dtype, kernel_device: torch.device
) -> None:
    clamp = 256 * 2**-0.5  # of a residual block: 181.02, which both store as 181
    x = torch.tensor([1000.0, -1000.0, 1.0, -1.0], device=kernel_device).to(dtype).reshape(1, 1, 2, 2).requires_grad_()
    out = bias_act(x, None, "linear", clamp=clamp)
    (grad,) = torch.autograd.grad(out.sum(), x)
    assert grad.flatten().tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("up", [1, 2])
def test_noise_maps_that_are_searched_get_their_gradient(up: int, kernel_device: torch.device) -> None:
    x, weight, styles = (randn(*shape, device=kernel_device) for shape in ((1, 2, 3, 3), (2, 2, 3, 3), (1, 2)))
    noise, f = randn(1, 1, 3 * up, 3 * up, device=kernel_device), setup_filter([1.0, 3.0, 3.0, 1.0]).to(kernel_device)
    strength, bias = torch.tensor(0.5, device=kernel_device), torch.zeros(2, device=kernel_device)

    def function(noise: Tensor, x: Tensor) -> Tensor:
        return style_layer(x, weight, styles, f, noise, strength, bias, "lrelu", up=up)

    assert_equal_to_stock(function, noise, x)


def test_a_third_derivative_is_refused(kernel_device: torch.device) -> None:
    x, scale, bias, strength = (value.requires_grad_() for value in operands(SHAPE, kernel_device))
    out = layer(randn(1, 1, *SHAPE[2:], device=kernel_device))(x, scale, bias, strength)
    grad = wave(out).requires_grad_()
    (first,) = torch.autograd.grad(out, scale, grad, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        second.square().sum().backward()
