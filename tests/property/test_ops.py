"""Laws of the operations, for any size, factor, padding and filter."""

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from stylegan.ops import modulated_conv2d, setup_filter, upfirdn2d

FILTER = setup_filter([1.0, 3.0, 3.0, 1.0])
EXACT: Any = {"rtol": 0.0, "atol": 1e-10}  # fp64 sums of a few hundred terms near 1

factors = st.integers(1, 3)
pads = st.integers(-4, 6)  # a side may crop more than the whole image
seeds = st.integers(0, 2**31)
Operation = Callable[[Tensor], Tensor]


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@st.composite
def resamplings(data: st.DrawFn) -> tuple[Operation, Tensor]:
    """Any upfirdn2d and an image it can be applied to"""
    seed, h, w = data(seeds), data(st.integers(1, 8)), data(st.integers(1, 8))
    fh, fw = data(st.integers(1, 5)), data(st.integers(1, 5))
    up, down = (data(factors), data(factors)), (data(factors), data(factors))
    padding = (data(pads), data(pads), data(pads), data(pads))
    assume(h * up[1] + padding[2] + padding[3] >= fh)
    assume(w * up[0] + padding[0] + padding[1] >= fw)
    f, flip = draw(seed, fh, fw), data(st.booleans())
    return lambda x: upfirdn2d(x, f, up, down, padding, 1.5, flip), draw(seed + 1, 1, 2, h, w)


@given(resamplings(), seeds)
def test_upfirdn2d_is_linear(case: tuple[Operation, Tensor], seed: int) -> None:
    resample, x = case
    y = draw(seed, *x.shape)
    torch.testing.assert_close(resample(2 * x - 3 * y), 2 * resample(x) - 3 * resample(y), **EXACT)


@given(resamplings(), seeds)
def test_backward_of_upfirdn2d_is_its_adjoint(case: tuple[Operation, Tensor], seed: int) -> None:
    """<A x, y> == <x, A' y>"""
    resample, x = case
    x.requires_grad_()
    out = resample(x)
    y = draw(seed, *out.shape)
    (adjoint,) = torch.autograd.grad(out, x, y)
    torch.testing.assert_close((out * y).sum(), (x * adjoint).sum(), **EXACT)


@given(seeds, st.permutations(range(4)), st.sampled_from([1, 2]), st.booleans())
def test_permuting_the_batch_permutes_the_output_of_modulated_conv2d(
    seed: int, order: list[int], up: int, demodulate: bool
) -> None:
    x, styles, weight = draw(seed, 4, 3, 5, 5), draw(seed + 1, 4, 3), draw(seed + 2, 2, 3, 3, 3)

    def layer(x: Tensor, styles: Tensor) -> Tensor:
        return modulated_conv2d(x, weight, styles, FILTER, up=up, demodulate=demodulate)

    torch.testing.assert_close(layer(x[order], styles[order]), layer(x, styles)[order], **EXACT)
