"""Derivatives of derivatives, which R1 and the path length need: analytic against numerical ones, in fp64.

Every test runs on CUDA too, where it is.
"""

from collections.abc import Callable, Iterator
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.augment import AugmentPipe, diffaugment
from stylegan.augment.bands import filter_each
from stylegan.config.sections import MultipliersConfig
from stylegan.networks.discriminator import minibatch_std
from stylegan.networks.layers import normalize_2nd_moment
from stylegan.ops import (
    bias_act,
    conv2d_resample,
    downsample2d,
    grid_sample,
    modulated_conv2d,
    setup_filter,
    upfirdn2d,
    upsample2d,
)

FILTER = setup_filter([1.0, 3.0, 3.0, 1.0]).double()
GREY = ("brightness", "contrast", "lumaflip", "hue", "saturation")  # what is another formula for one channel
LONG = torch.linspace(-1, 2, 9, dtype=torch.float64)

# CUDA adds in any order, so equal inputs give gradients that differ by rounding.
NONDETERMINISM = {"cpu": 0.0, "cuda": 1e-10}


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "cuda",
            marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")],
        ),
    ]
)
def check(request: pytest.FixtureRequest) -> Callable[..., None]:
    """check(function, *shapes) -> compares first and second derivatives at random inputs of these shapes

    fast compares a random projection of the Jacobian instead of every column, for inputs that cannot be small.
    """

    def compare(function: Callable[..., Tensor], *shapes: tuple[int, ...], fast: bool = False) -> None:
        generator = torch.Generator().manual_seed(0)
        inputs = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
        inputs = [x.to(request.param).requires_grad_() for x in inputs]
        tolerance = NONDETERMINISM[request.param]
        assert torch.autograd.gradcheck(function, inputs, nondet_tol=tolerance, fast_mode=fast)
        assert torch.autograd.gradgradcheck(function, inputs, nondet_tol=tolerance, fast_mode=fast)

    return compare


@pytest.mark.parametrize(
    ("f", "up", "down", "padding", "flip"),
    [
        (FILTER, 2, 1, (2, 1, 2, 1), False),
        (FILTER, 1, 2, (1, 1, 1, 1), True),
        (FILTER[:, :3], 2, 3, (4, -1, 5, 2), False),
        (LONG, 2, 1, (4, 3, 5, 2), False),
        (LONG, 1, 2, (4, 6, 5, 6), True),
        (LONG, 1, 1, (8, -1, -2, 9), True),
        (FILTER, 1, 1, (-2, 6, 8, -7), False),  # one side crops more than the whole image
        (LONG, 2, 1, (14, -12, -9, 11), False),
        (FILTER, (2, 1), (1, 3), (2, 1, 3, 2), False),  # each axis its own
        (FILTER[:1], (2, 1), (1, 1), (2, 1, 0, 0), True),  # one row, one column
        (FILTER[:, :1], (1, 1), (1, 2), (0, 0, 2, 1), False),
        (FILTER[:1, :1], 1, 1, 0, False),  # a factor
        (FILTER[:1, :1], 2, 3, 1, False),
    ],
)
def test_upfirdn2d(
    f: Tensor,
    up: int | tuple[int, int],
    down: int | tuple[int, int],
    padding: int | tuple[int, ...],
    flip: bool,
    check: Callable[..., None],
) -> None:
    # Squared, because the operation alone is linear and its second derivative zero.
    check(lambda x: upfirdn2d(x, f.to(x.device), up, down, padding, 1.5, flip).square(), (1, 2, 4, 5))


@pytest.mark.parametrize("taps", [FILTER, FILTER.sum(dim=0), LONG])
@pytest.mark.parametrize("resample", [upsample2d, downsample2d])
def test_resampling_by_two(resample: Callable[..., Tensor], taps: Tensor, check: Callable[..., None]) -> None:
    check(lambda x: resample(x, taps.to(x.device)).square(), (1, 2, 4, 4))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2)])
def test_conv2d_resample(up: int, down: int, k: int, layout: torch.memory_format, check: Callable[..., None]) -> None:
    def layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = x.contiguous(memory_format=layout)
        return conv2d_resample(x, weight, FILTER.to(x.device), up=up, down=down, bias=bias)

    check(layer, (1, 2, 4, 4), (2, 2, k, k), (2,))


@pytest.mark.parametrize(("up", "k", "demodulate"), [(1, 3, True), (2, 3, True), (1, 1, False), (1, 1, True)])
def test_modulated_conv2d(up: int, k: int, demodulate: bool, check: Callable[..., None]) -> None:
    def layer(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
        return modulated_conv2d(x, weight, styles, FILTER.to(x.device), up=up, demodulate=demodulate)

    check(layer, (2, 2, 3, 3), (2, 2, k, k), (2, 2))


def test_filters_of_every_image(check: Callable[..., None]) -> None:
    taps = torch.linspace(-1, 2, 10, dtype=torch.float64).view(2, 5)
    check(lambda x: filter_each(x, taps.to(x.device)).square(), (2, 2, 4, 5))


def test_moving_images_among_others(check: Callable[..., None]) -> None:
    index = torch.tensor([2, 0])
    check(lambda x: x.index_copy(0, index.to(x.device), x[index.to(x.device)].square()), (3, 1, 2, 2))


def test_normalize_2nd_moment(check: Callable[..., None]) -> None:
    check(normalize_2nd_moment, (3, 4))


@pytest.mark.parametrize("clamp", [None, 0.05])
def test_bias_act_where_it_is_linear_or_clamped(clamp: float | None, check: Callable[..., None]) -> None:
    check(lambda x, bias: bias_act(x, bias, "linear", gain=2.0, clamp=clamp).square(), (2, 3, 2), (3,))


def test_bias_act_away_from_the_kink(check: Callable[..., None]) -> None:
    def layer(x: Tensor, bias: Tensor) -> Tensor:
        signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], device=x.device)
        return bias_act(signs * (x.square() + 1), bias * 0.1, "lrelu", gain=1.5, clamp=100.0)

    check(layer, (2, 2), (2,))


@pytest.mark.parametrize(("group_size", "num_channels"), [(2, 1), (4, 2), (8, 1)])
def test_minibatch_std(group_size: int, num_channels: int, check: Callable[..., None]) -> None:
    check(lambda x: minibatch_std(x, group_size, num_channels), (4, 2, 2, 2))


def test_grid_sample(check: Callable[..., None]) -> None:
    theta = torch.tensor([[[0.8, 0.3, 0.1], [-0.2, 0.9, 0.05]]], dtype=torch.float64)

    def warp(x: Tensor) -> Tensor:
        grid = F.affine_grid(theta.to(x.device), [1, 2, 5, 5], align_corners=False)
        return grid_sample(x, grid).square()

    check(warp, (1, 2, 4, 4))


@pytest.fixture
def default_double() -> Iterator[None]:
    """Strengths of transforms are drawn in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("default_double")
@pytest.mark.parametrize(
    ("name", "channels"),
    [*product([*MultipliersConfig.model_fields, "all of them"], [3]), *product([*GREY, "all of them"], [1])],
)
def test_every_transform_of_the_pipe_at_p_1(name: str, channels: int, check: Callable[..., None]) -> None:
    names = list(MultipliersConfig.model_fields) if name == "all of them" else [name]
    pipe = AugmentPipe.from_multipliers(**dict.fromkeys(names, 1.0)).double()

    def augment(images: Tensor) -> Tensor:
        torch.manual_seed(1)  # the same strengths at every point
        return pipe.to(images.device)(images, p=1.0).square()

    check(augment, (2, channels, 22, 24), fast=True)  # the band filters need more than 21 pixels


@pytest.mark.usefixtures("default_double")
def test_the_warp_of_the_pipe_by_every_column(check: Callable[..., None]) -> None:
    pipe = AugmentPipe.from_multipliers(scale=1, rotate=1, aniso=1, xfrac=1).double()

    def augment(images: Tensor) -> Tensor:
        torch.manual_seed(1)
        return pipe.to(images.device)(images, p=1.0).square()

    check(augment, (1, 1, 5, 6))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_diffaugment(channels: int, check: Callable[..., None]) -> None:
    def augment(x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return diffaugment(x, ["color", "translation", "cutout"]).square()

    check(augment, (2, channels, 8, 8), fast=True)
