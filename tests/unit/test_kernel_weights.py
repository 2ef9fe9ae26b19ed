"""The kernels of weights and demodulation, and the layers that use all kernels, against stock torch.

Interpreted on the CPU, and compiled where there is CUDA.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from stylegan.networks.layers import Conv2dLayer, FullyConnected, apply_each
from stylegan.ops import kernels, mix_maps, modulated_conv2d, setup_filter, style_layer
from stylegan.ops.kernels.differentiable import demodulate, prepare_weight
from stylegan.ops.modulated_conv2d import _within_half, demodulation_factors
from tests.kernels import FP32, HALF, LAYOUTS, Kernels, assert_equal_to_stock, derivatives, randn, wave

FILTER = setup_filter([1.0, 3.0, 3.0, 1.0])
# A layer is a convolution of some tens of products, demodulated by a norm that is made of its weights.
LAYER = 1e-5


def prepared(squares: bool, transposed: bool) -> Callable[[Tensor], Tensor]:
    """Half of a weight, and sums of its squares, as a function of it"""

    def function(weight: Tensor) -> Tensor:
        if not kernels.handles("prepare_weight", weight):
            parts = 0.5 * weight, (0.5 * weight).square().sum(dim=(2, 3))
        else:
            parts = prepare_weight(weight, torch.float32, gain=0.5, wants_squares=squares, transposed=transposed)
        return torch.cat([part.flatten() for part in parts[: 1 + squares]])

    return function


EVERY_WAY = [((4, 3, 3, 3), squares, transposed) for squares in (False, True) for transposed in (False, True)]


@pytest.mark.parametrize(
    ("shape", "squares", "transposed"), [*EVERY_WAY, ((2, 5, 1, 1), True, False), ((1, 1, 3, 3), False, True)]
)
def test_prepared_weights_and_their_squares(
    shape: tuple[int, ...], squares: bool, transposed: bool, kernel_device: torch.device
) -> None:
    weight = randn(*shape, device=kernel_device)
    assert_equal_to_stock(prepared(squares, transposed), weight, runs="prepare_weight")


@pytest.mark.parametrize(
    ("shape", "squares", "transposed"), [*EVERY_WAY, ((2, 130, 1, 1), True, True), ((2, 130, 1, 1), False, False)]
)
def test_gradients_of_which_no_second_ones_are_wanted(
    shape: tuple[int, ...], squares: bool, transposed: bool, kernel_device: torch.device
) -> None:
    """They have a kernel of their own."""
    weight = randn(*shape, device=kernel_device).requires_grad_()
    both = []
    for mode in ("stock", "auto"):
        with kernels.using(mode), Kernels() as ran:
            out = prepared(squares, transposed)(weight)
            both.append(torch.autograd.grad(out, weight, wave(out))[0])
    assert ran.names == ["prepare_weight", "prepare_weight_backward"]
    torch.testing.assert_close(both[1], both[0], rtol=FP32, atol=FP32)


def test_more_in_channels_than_a_tile(kernel_device: torch.device) -> None:
    def function(weight: Tensor, styles: Tensor) -> Tensor:
        if not kernels.handles("prepare_weight", weight):
            within, scaled = _within_half(weight, styles)
            squares = within.square().sum(dim=(2, 3))
            return torch.cat([within.flatten(), scaled.flatten(), demodulation_factors(scaled, squares).flatten()])
        gain = 1 / math.sqrt(weight[0].numel())
        within, squares = prepare_weight(weight, torch.float32, gain=gain, normalizes=True, wants_squares=True)
        return torch.cat([part.flatten() for part in (within, *demodulate(styles, squares, normalizes=True))])

    inputs = randn(66, 130, 1, 1, device=kernel_device), randn(1, 130, device=kernel_device)
    # The squares of the weights are as small as 1e-5, and their gradients that much larger: sums of 8,580 of them.
    assert_equal_to_stock(function, *inputs, tolerance=1e-4, runs="demodulate")


@pytest.mark.parametrize("normalizes", [False, True])
def test_demodulation(normalizes: bool, kernel_device: torch.device) -> None:
    def function(styles: Tensor, squares: Tensor) -> Tensor:
        if kernels.handles("prepare_weight", styles):
            scaled, dcoefs = demodulate(styles, squares, normalizes=normalizes)
        else:
            scaled = _within_half(squares[..., None, None], styles)[1] if normalizes else styles
            dcoefs = demodulation_factors(scaled, squares)
        return torch.cat([scaled.flatten(), dcoefs.flatten()])

    styles, squares = randn(3, 5, device=kernel_device), randn(4, 5, device=kernel_device).square() + 0.1
    assert_equal_to_stock(function, styles, squares, runs="demodulate")
    assert_equal_to_stock(function, styles.t().contiguous().t(), squares.t().contiguous().t(), runs="demodulate")
    assert_equal_to_stock(function, styles[:0], squares, runs="demodulate")


def test_either_result_of_demodulation_alone(kernel_device: torch.device) -> None:
    squares = randn(4, 5, device=kernel_device).square() + 0.1

    def only(index: int) -> Callable[[Tensor, Tensor], Tensor]:
        def function(styles: Tensor, squares: Tensor) -> Tensor:
            if kernels.handles("prepare_weight", styles):
                return demodulate(styles, squares, normalizes=False)[index].square()
            return (styles, demodulation_factors(styles, squares))[index].square()

        return function

    for index in range(2):
        assert_equal_to_stock(only(index), randn(3, 5, device=kernel_device), squares, runs="demodulate")


def test_a_kernel_of_zeros_stays_finite(kernel_device: torch.device) -> None:
    weight, styles = torch.zeros(2, 3, 3, 3, device=kernel_device), torch.zeros(2, 3, device=kernel_device)
    prepared, squares = prepare_weight(weight, torch.float16, normalizes=True, wants_squares=True)
    for found in (prepared, *demodulate(styles, squares, normalizes=True)):
        assert found.isfinite().all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_shows(bad: float, kernel_device: torch.device) -> None:
    weight, styles = randn(2, 3, 3, 3, device=kernel_device), randn(2, 3, device=kernel_device)
    for place in (weight, styles):
        before = place.view(-1)[1].item()
        place.view(-1)[1] = bad
        for dtype in (torch.float32, torch.float16):
            x = torch.ones(2, 3, 3, 3, device=kernel_device, dtype=dtype)
            assert not modulated_conv2d(x, weight, styles).isfinite().all()
        place.view(-1)[1] = before


@pytest.mark.parametrize("dtype", [torch.float32, *HALF])
def test_weights_lie_as_convolutions_read_them(dtype: torch.dtype, kernel_device: torch.device) -> None:
    """Of channels_last images; a transposed convolution takes its weight with the first two dimensions exchanged."""
    weight = randn(4, 3, 3, 3, device=kernel_device)
    plain, _ = prepare_weight(weight, dtype)
    swapped, _ = prepare_weight(weight, dtype, transposed=True)
    assert plain.dtype == swapped.dtype == dtype
    assert plain.is_contiguous(memory_format=torch.channels_last)
    assert swapped.transpose(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain, swapped)
    # Interpreted, Triton cuts off what bfloat16 cannot hold.
    torch.testing.assert_close(plain, weight.to(dtype), rtol=2**-7 if dtype == torch.bfloat16 else 0, atol=0)


def test_preparing_gives_equal_bits_in_every_run(kernel_device: torch.device) -> None:
    def function(weight: Tensor, styles: Tensor) -> Tensor:
        return modulated_conv2d(x, weight, styles)

    x, weight = randn(2, 3, 3, 3, device=kernel_device), randn(4, 3, 1, 1, device=kernel_device)
    runs = [derivatives(function, [weight, randn(2, 3, device=kernel_device) * 0 + 1.5]) for _ in range(2)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


@pytest.mark.parametrize(("up", "layout"), [(1, LAYOUTS[0]), (1, LAYOUTS[1]), (2, LAYOUTS[0])])
def test_a_layer_of_the_generator(up: int, layout: torch.memory_format, kernel_device: torch.device) -> None:
    f, noise = FILTER.to(kernel_device), randn(2, 1, 3 * up, 3 * up, device=kernel_device)

    def function(x: Tensor, weight: Tensor, styles: Tensor, strength: Tensor, bias: Tensor) -> Tensor:
        return style_layer(x, weight, styles, f, noise, strength, bias, "lrelu", up=up, gain=1.5, clamp=1.5)

    x = randn(2, 2, 3, 3, device=kernel_device).contiguous(memory_format=layout)
    weight, styles = randn(3, 2, 3, 3, device=kernel_device), randn(2, 2, device=kernel_device)
    others = randn(device=kernel_device), randn(3, device=kernel_device)
    assert_equal_to_stock(function, x, weight, styles, *others, tolerance=LAYER, runs="demodulate")


def test_an_upsampling_layer_without_noise(kernel_device: torch.device) -> None:
    f, x = FILTER.to(kernel_device), randn(1, 1, 2, 2, device=kernel_device)

    def function(x: Tensor, weight: Tensor, styles: Tensor, strength: Tensor, bias: Tensor) -> Tensor:
        return style_layer(x, weight, styles, f, None, strength, bias, "lrelu", up=2)

    inputs = [randn(*shape, device=kernel_device) for shape in ((2, 1, 3, 3), (1, 1), (), (2,))]
    assert_equal_to_stock(function, x, *inputs, tolerance=LAYER, runs="upfirdn2d")


@pytest.mark.parametrize("dtype", HALF)
def test_a_layer_of_the_generator_in_half_precision(dtype: torch.dtype, kernel_device: torch.device) -> None:
    """The weights and the image are rounded too, before the convolution, and its result after."""
    f, noise = FILTER.to(kernel_device), randn(1, 1, 4, 4, device=kernel_device)

    def function(x: Tensor, weight: Tensor, styles: Tensor, bias: Tensor) -> Tensor:
        return style_layer(x, weight, styles, f, noise, strength, bias, "lrelu", up=2, clamp=256)

    x = randn(1, 2, 2, 2, device=kernel_device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    weight, styles = randn(3, 2, 3, 3, device=kernel_device), randn(1, 2, device=kernel_device)
    strength, bias = randn(device=kernel_device), randn(3, device=kernel_device)
    assert_equal_to_stock(function, x, weight, styles, bias, tolerance=4 * HALF[dtype], runs="demodulate")


def test_large_weights_and_styles_stay_within_half_precision(kernel_device: torch.device) -> None:
    """Sums of products of 1e4 and 1e3 would not; demodulation divides both out again."""
    x = randn(1, 3, 4, 4, device=kernel_device).contiguous(memory_format=torch.channels_last)
    weight, styles = 1e4 * randn(2, 3, 3, 3, device=kernel_device), 1e3 * randn(1, 3, device=kernel_device)
    got = modulated_conv2d(x.half(), weight, styles)
    with kernels.using("stock"):
        torch.testing.assert_close(got.float(), modulated_conv2d(x, weight, styles), rtol=4e-3, atol=4e-3)


@pytest.mark.parametrize(
    ("settings", "gain"),
    [
        ({"kernel_size": 3, "act": "lrelu", "clamp": 1.0}, 1.0),
        ({"kernel_size": 3, "act": "lrelu", "down": 2}, math.sqrt(0.5)),
        ({"kernel_size": 3, "act": "lrelu", "up": 2}, 1.0),
        ({"kernel_size": 1, "act": "linear", "up": 2, "bias": False}, math.sqrt(0.5)),
    ],
)
def test_a_plain_convolution(settings: dict[str, object], gain: float, kernel_device: torch.device) -> None:
    layer = Conv2dLayer(2, 2, **settings).to(kernel_device)  # type: ignore[arg-type]

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip(dict(layer.named_parameters()), parameters, strict=True))
        out: Tensor = torch.func.functional_call(layer, named, (x, gain))
        return out

    x = randn(1, 2, 4, 4, device=kernel_device).contiguous(memory_format=torch.channels_last)
    assert_equal_to_stock(function, x, *layer.parameters(), tolerance=LAYER, runs="prepare_weight")


@pytest.mark.parametrize("settings", [{"up": 1}, {"down": 2}])
def test_the_gain_of_a_shortcut_moves_into_its_weight_in_half_precision(
    settings: dict[str, int], kernel_device: torch.device
) -> None:
    layer = Conv2dLayer(3, 2, 1, "linear", bias=False, **settings).to(kernel_device)
    x = randn(1, 3, 4, 4, device=kernel_device, dtype=torch.float16).contiguous(memory_format=torch.channels_last)
    with Kernels() as ran:
        got = layer(x, math.sqrt(0.5))
    assert "scale_bias_act" not in ran.names
    with kernels.using("stock"):
        torch.testing.assert_close(got.float(), layer(x.float(), math.sqrt(0.5)), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("maps", [1, 3, 8])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_maps_of_colours(layout: torch.memory_format, maps: int, kernel_device: torch.device) -> None:
    def function(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
        if kernels.handles("scale_bias_act", x):
            return mix_maps(x, weight, styles)
        return modulated_conv2d(x, weight, styles, demodulate=False)

    x = randn(2, 5, 4, 3, device=kernel_device).contiguous(memory_format=layout)
    weight, styles = randn(maps, 5, 1, 1, device=kernel_device), randn(2, 5, device=kernel_device)
    with kernels.using("stock"):
        want = derivatives(function, [x, weight, styles])
    got = derivatives(function, [x, weight, styles])
    for name, value in want.items():  # products of matrices, no kernel of its own
        torch.testing.assert_close(got[name], value, rtol=LAYER, atol=LAYER)
    assert mix_maps(x.half(), weight, styles).dtype == torch.float32


def test_layers_of_equal_width_run_as_one_batch(kernel_device: torch.device) -> None:
    layers = [FullyConnected(4, width, "linear", bias_init=1).to(kernel_device) for width in (5, 3, 5)]
    inputs = [randn(2, 4, device=kernel_device).requires_grad_() for _ in layers]
    parameters = [p for layer in layers for p in layer.parameters()]
    both = []
    for mode in ("stock", "auto"):
        with kernels.using(mode):
            out = torch.cat(apply_each(layers, inputs), dim=1)
            first = torch.autograd.grad(out.square().sum(), [*inputs, *parameters], create_graph=True)
            second = torch.autograd.grad(sum(grad.square().sum() for grad in first), [*inputs, *parameters])
            both.append([out, *first, *second])
    for want, got in zip(*both, strict=True):
        torch.testing.assert_close(got, want, rtol=LAYER, atol=LAYER)
    assert apply_each([], []) == []


@pytest.mark.parametrize("act", ["lrelu", "linear"])
def test_a_fully_connected_layer(act: str, kernel_device: torch.device) -> None:
    layer = FullyConnected(4, 3, act, lr_multiplier=0.1, bias_init=1).to(kernel_device)  # type: ignore[arg-type]
    x, parameters = randn(2, 4, device=kernel_device), list(layer.parameters())

    def function(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))
        return out

    with kernels.using("stock"):
        want = derivatives(function, [x, *parameters])
    got = derivatives(function, [x, *parameters])
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, rtol=LAYER, atol=LAYER)
