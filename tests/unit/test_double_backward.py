"""Derivatives of derivatives, which R1 and the path length need: analytic against numerical ones, in fp64.

grid_sample is torch's own; the pin of torch stands on its double backward.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.networks.discriminator import minibatch_std
from stylegan.networks.layers import normalize_2nd_moment
from stylegan.ops import bias_act, conv2d_resample, modulated_conv2d, setup_filter, upfirdn2d

FILTER = setup_filter([1.0, 3.0, 3.0, 1.0]).double()
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
    """check(function, *shapes) -> compares first and second derivatives at random inputs of these shapes"""

    def compare(function: Callable[..., Tensor], *shapes: tuple[int, ...]) -> None:
        generator = torch.Generator().manual_seed(0)
        inputs = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
        inputs = [x.to(request.param).requires_grad_() for x in inputs]
        assert torch.autograd.gradcheck(function, inputs, nondet_tol=NONDETERMINISM[request.param])
        assert torch.autograd.gradgradcheck(function, inputs, nondet_tol=NONDETERMINISM[request.param])

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
    ],
)
def test_upfirdn2d(
    f: Tensor, up: int, down: int, padding: tuple[int, ...], flip: bool, check: Callable[..., None]
) -> None:
    # Squared, because the operation alone is linear and its second derivative zero.
    check(lambda x: upfirdn2d(x, f.to(x.device), up, down, padding, 1.5, flip).square(), (1, 2, 4, 5))


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2)])
def test_conv2d_resample(up: int, down: int, k: int, check: Callable[..., None]) -> None:
    def layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return conv2d_resample(x, weight, FILTER.to(x.device), up=up, down=down, bias=bias)

    check(layer, (1, 2, 4, 4), (2, 2, k, k), (2,))


@pytest.mark.parametrize("up", [1, 2])
def test_modulated_conv2d(up: int, check: Callable[..., None]) -> None:
    def layer(x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
        return modulated_conv2d(x, weight, styles, FILTER.to(x.device), up=up)

    check(layer, (2, 2, 3, 3), (2, 2, 3, 3), (2, 2))


def test_modulated_conv2d_of_an_image(check: Callable[..., None]) -> None:
    """The layer to RGB does not demodulate."""
    check(
        lambda x, weight, styles: modulated_conv2d(x, weight, styles, demodulate=False),
        (2, 2, 3, 3),
        (3, 2, 1, 1),
        (2, 2),
    )


def test_normalize_2nd_moment(check: Callable[..., None]) -> None:
    check(normalize_2nd_moment, (2, 3))


def test_filters_of_every_image(check: Callable[..., None]) -> None:
    """Reflection and a kernel for each image, as the augmentation by frequency bands does."""

    def layer(x: Tensor, taps: Tensor) -> Tensor:
        padded = F.pad(x.reshape(1, 4, 4, 5), [2, 2, 0, 0], mode="reflect")
        return F.conv2d(padded, taps.repeat_interleave(2, dim=0)[:, None, None], groups=4)

    check(layer, (2, 2, 4, 5), (2, 5))


def test_moving_images_among_others(check: Callable[..., None]) -> None:
    index = torch.tensor([2, 0])
    check(lambda x: x.index_copy(0, index.to(x.device), x[index.to(x.device)].square()), (3, 1, 2, 2))


def test_bias_act_away_from_the_kink(check: Callable[..., None]) -> None:
    def layer(x: Tensor, bias: Tensor) -> Tensor:
        signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], device=x.device)
        return bias_act(signs * (x.square() + 1), bias * 0.1, "lrelu", gain=1.5, clamp=100.0)

    check(layer, (2, 2), (2,))


@pytest.mark.parametrize("num_channels", [1, 2])
def test_minibatch_std(num_channels: int, check: Callable[..., None]) -> None:
    check(lambda x: minibatch_std(x, group_size=2, num_channels=num_channels), (4, 2, 2, 2))


def test_grid_sample(check: Callable[..., None]) -> None:
    theta = torch.tensor([[[0.8, 0.3, 0.1], [-0.2, 0.9, 0.05]]], dtype=torch.float64)

    def warp(x: Tensor) -> Tensor:
        grid = F.affine_grid(theta.to(x.device), [1, 2, 5, 5], align_corners=False)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False).square()

    check(warp, (1, 2, 4, 4))
