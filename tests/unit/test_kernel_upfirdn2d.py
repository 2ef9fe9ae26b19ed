"""The kernel of upfirdn2d against stock torch: filters, factors, paddings, layouts, sizes, types, derivatives.

Interpreted on the CPU, and compiled where there is CUDA.
"""

import pytest
import torch
from torch import Tensor

from stylegan.ops import downsample2d, fork_downsample2d, kernels, setup_filter, upfirdn2d, upsample2d_add
from stylegan.ops.kernels import launch
from tests.kernels import HALF, LAYOUTS, Kernels, assert_equal_to_stock, derivatives, randn

FILTER = setup_filter([1.0, 3.0, 3.0, 1.0])
UNEVEN = torch.linspace(-1, 2, 15).reshape(3, 5)  # of no symmetry, so that flips and swapped axes show
ROW, COLUMN = UNEVEN[:1], UNEVEN[:, 1:2]
LONG = torch.linspace(-1, 2, 12)

Pair = tuple[int, int]


@pytest.mark.parametrize(
    ("f", "up", "down", "padding", "flip"),
    [
        (FILTER, 2, 1, (2, 1, 2, 1), False),
        (FILTER, 1, 2, (1, 1, 1, 1), True),
        (UNEVEN, (2, 1), (1, 2), (4, -1, 5, 2), False),  # each axis its own
        (UNEVEN, (1, 3), (3, 1), (1, 2, 4, 0), True),
        (UNEVEN, 1, 1, (-1, 3, 2, -2), False),
        (UNEVEN, 1, 1, (-2, 6, 8, -7), True),  # one side crops more than the whole image
        (UNEVEN, 2, 1, (14, -12, -9, 11), False),
        (UNEVEN, 2, 1, (-3, 4, -1, 5), True),  # crops inserted zeros, so that another phase of taps comes first
        (UNEVEN, 1, 2, (-7, 12, 9, -6), False),
        (ROW, (2, 1), 1, (3, 2, 0, 0), False),
        (COLUMN, 1, (1, 2), (0, 0, 2, 1), True),
        (LONG, 2, 1, (7, 6, 5, 6), False),  # separable
        (LONG, 1, 2, (5, 5, 6, 5), True),
        (FILTER[:1, :1], 2, 1, 1, False),  # a factor
    ],
)
def test_values_and_derivatives(
    f: Tensor, up: int | Pair, down: int | Pair, padding: int | tuple[int, ...], flip: bool, kernel_device: torch.device
) -> None:
    f = f.to(kernel_device)
    x = randn(1, 2, 4, 5, device=kernel_device).contiguous(memory_format=torch.channels_last)
    assert_equal_to_stock(lambda x: upfirdn2d(x, f, up, down, padding, 1.5, flip), x, runs="upfirdn2d")


def test_filters_of_24_taps(kernel_device: torch.device) -> None:
    f = torch.linspace(-1, 2, 24, device=kernel_device)
    x = randn(1, 1, 3, 5, device=kernel_device)
    assert_equal_to_stock(lambda x: upfirdn2d(x, f, padding=(12, 11, 13, 10)), x, runs="upfirdn2d")


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((2, 2, 1, 1), torch.channels_last),  # one pixel
        ((1, 1, 3, 1), torch.contiguous_format),  # one column, one channel
        ((1, 3, 35, 3), torch.channels_last),  # more rows than a tile
        ((1, 3, 35, 3), torch.contiguous_format),
        ((1, 1, 2, 67), torch.contiguous_format),  # more columns; of one channel either layout
    ],
)
def test_sizes(shape: tuple[int, ...], layout: torch.memory_format, kernel_device: torch.device) -> None:
    f = ROW.to(kernel_device)
    x = randn(*shape, device=kernel_device).contiguous(memory_format=layout)
    assert_equal_to_stock(lambda x: upfirdn2d(x, f, padding=(2, 2, 0, 0)), x, runs="upfirdn2d")


def test_more_channels_than_a_tile(kernel_device: torch.device) -> None:
    f = ROW.to(kernel_device)
    x = randn(1, 70, 2, 2, device=kernel_device).contiguous(memory_format=torch.channels_last)
    assert_equal_to_stock(lambda x: upfirdn2d(x, f, padding=(2, 2, 0, 0)), x, runs="upfirdn2d")


def test_several_tiles_of_upsampled_channels_last_images(
    kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "TILE", 32)
    monkeypatch.setattr(launch, "MAX_CHANNELS", 8)
    x = randn(1, 5, 3, 2, device=kernel_device).contiguous(memory_format=torch.channels_last)
    f = UNEVEN.to(kernel_device)
    assert_equal_to_stock(lambda x: upfirdn2d(x, f, up=(1, 2), padding=(3, 2, 1, 2)), x, runs="upfirdn2d")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_images(layout: torch.memory_format, kernel_device: torch.device) -> None:
    x, f = randn(0, 3, 4, 4, device=kernel_device).contiguous(memory_format=layout), FILTER.to(kernel_device)
    assert_equal_to_stock(lambda x: upfirdn2d(x, f, up=2, padding=(2, 1, 2, 1)), x, runs="upfirdn2d")


def test_images_and_gradients_that_are_not_dense(kernel_device: torch.device) -> None:
    f = ROW.to(kernel_device)
    whole = randn(2, 2, 4, 6, device=kernel_device)
    inputs = (whole[:, 1:, ::2, 1::2], whole[0].expand(2, 2, 4, 6), whole.transpose(2, 3), whole.transpose(1, 3))
    for x in inputs:
        assert_equal_to_stock(lambda x: upfirdn2d(x, f, padding=(2, 2, 0, 0)), x, runs="upfirdn2d")
    # Gradients of sums, of slices and of transposes are expanded, or have holes.
    x = whole.contiguous(memory_format=torch.channels_last)
    assert_equal_to_stock(lambda x: upfirdn2d(x, f, padding=(2, 2, 0, 0)).sum(dim=3), x)
    assert_equal_to_stock(lambda x: upfirdn2d(x, f, padding=(2, 2, 0, 0))[:, ::2, 1:, 1::2].transpose(1, 3), x)


@pytest.mark.parametrize(("dtype", "layout"), list(zip(HALF, LAYOUTS, strict=True)))
def test_half_precisions(dtype: torch.dtype, layout: torch.memory_format, kernel_device: torch.device) -> None:
    f = FILTER.to(kernel_device)
    x = randn(1, 3, 4, 3, device=kernel_device, dtype=dtype).contiguous(memory_format=layout)
    assert_equal_to_stock(lambda x: upfirdn2d(x, f, 2, 1, (2, 1, 2, 1), 4), x, tolerance=HALF[dtype], runs="upfirdn2d")
    assert upfirdn2d(x, f).dtype == dtype


def test_sums_are_made_in_float32(kernel_device: torch.device) -> None:
    """What float16 cannot hold cancels within the sum: 6e4 + 6e4 - 6e4."""
    x = torch.full((1, 1, 1, 3), 6e4, dtype=torch.float16, device=kernel_device)
    f = torch.tensor([[-1.0, 1.0, 1.0]], device=kernel_device)
    assert upfirdn2d(x, f, flip_filter=True).item() == x[0, 0, 0, 0].item()


@pytest.mark.parametrize(
    ("dtype", "layout"),
    [
        (torch.float32, torch.channels_last),
        (torch.float32, torch.contiguous_format),
        (torch.float16, torch.channels_last),
    ],
)
def test_upsampling_onto_another_image(
    dtype: torch.dtype, layout: torch.memory_format, kernel_device: torch.device
) -> None:
    """In the layout and type of the smaller one, whatever those of the other."""
    f = FILTER.to(kernel_device)
    x, other = (randn(1, 2, n, n, device=kernel_device) for n in (2, 4))
    x = x.contiguous(memory_format=layout).to(dtype)
    tolerance = HALF.get(dtype, 3e-6)  # as FP32 of tests/kernels.py
    assert_equal_to_stock(lambda x, y: upsample2d_add(x, f, y), x, other, tolerance=tolerance, runs="upfirdn2d")


@pytest.mark.parametrize("uses", ["both", "the image", "the smaller one"])
def test_an_image_and_its_half_join_their_gradients(uses: str, kernel_device: torch.device) -> None:
    f = FILTER.to(kernel_device)

    def function(x: Tensor) -> Tensor:
        same, small = fork_downsample2d(x.square(), f)
        if uses == "the image":
            return same * 2
        return small.square() if uses == "the smaller one" else torch.cat([same.flatten(), small.square().flatten()])

    assert_equal_to_stock(function, randn(1, 2, 4, 6, device=kernel_device), runs="upfirdn2d")


def test_joining_gradients_takes_no_pass_of_its_own(kernel_device: torch.device) -> None:
    x = randn(1, 1, 4, 4, device=kernel_device).requires_grad_()
    with Kernels() as ran:
        same, small = fork_downsample2d(x, FILTER.to(kernel_device))
        torch.autograd.grad([same, small], x, [torch.ones_like(same), torch.ones_like(small)])
    assert ran.names == ["upfirdn2d", "upfirdn2d"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_shows(bad: float, kernel_device: torch.device) -> None:
    f = FILTER.to(kernel_device)
    x = torch.ones(1, 1, 4, 4, device=kernel_device)
    x[0, 0, 1, 2] = bad
    with kernels.using("stock"):
        expected = downsample2d(x, f).isfinite()
    assert torch.equal(downsample2d(x, f).isfinite(), expected)
    assert not expected.all()


def test_factors_up_and_down_on_one_axis_are_left_to_stock_torch(kernel_device: torch.device) -> None:
    x, f = randn(1, 2, 4, 5, device=kernel_device), UNEVEN.to(kernel_device)
    with Kernels() as ran:
        got = upfirdn2d(x, f, up=2, down=3, padding=3)
    with kernels.using("stock"):
        assert torch.equal(got, upfirdn2d(x, f, up=2, down=3, padding=3))
    assert not ran.names


def test_a_third_derivative_is_that_of_stock_torch(kernel_device: torch.device) -> None:
    """Linear operations differentiate any number of times."""
    f, x = ROW.to(kernel_device), randn(1, 1, 3, 3, device=kernel_device)

    def third(x: Tensor) -> Tensor:
        out = upfirdn2d(x, f, padding=(2, 2, 0, 0)).pow(4)
        (first,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        return first

    assert_equal_to_stock(third, x, runs="upfirdn2d")


def test_two_runs_give_equal_bits(kernel_device: torch.device) -> None:
    f, x = ROW.to(kernel_device), randn(1, 2, 5, 5, device=kernel_device)
    runs = [derivatives(lambda x: upfirdn2d(x, f, padding=(2, 2, 0, 0)), [x]) for _ in range(2)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
