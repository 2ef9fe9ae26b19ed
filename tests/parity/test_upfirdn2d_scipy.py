"""upfirdn2d against SciPy, and its two CPU paths against each other."""

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import torch

from stylegan.ops import upfirdn2d

Array = npt.NDArray[np.float64]
EXACT = 1e-13  # fp64 sums of the same few terms in another order
RNG = np.random.default_rng(0)
IMAGE = RNG.standard_normal((2, 3, 7, 9))


def along(x: Array, taps: Array, up: int, down: int, pad: tuple[int, int], axis: int) -> Array:
    """Insert zeros, pad or crop, convolve with taps, decimate along one axis: SciPy's full result, cut to size"""
    full = np.moveaxis(scipy.signal.upfirdn(taps, x, up=up, axis=axis), axis, -1)
    size = x.shape[axis] * up + sum(pad) - len(taps) + 1
    wanted = np.arange(0, size, down) + len(taps) - 1 - pad[0]
    inside = (wanted >= 0) & (wanted < full.shape[-1])
    out = np.where(inside, full[..., wanted.clip(0, full.shape[-1] - 1)], 0)
    return np.moveaxis(out, -1, axis)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (2, 1, 3, 0), (-2, 3, 1, -1), (-1, -2, -3, -1), (4, 5, 6, 7)])
@pytest.mark.parametrize(("up", "down"), [((1, 1), (1, 1)), ((2, 3), (1, 1)), ((1, 1), (3, 2)), ((2, 1), (3, 2))])
def test_separable_filter_equals_scipy_along_each_axis(
    up: tuple[int, int], down: tuple[int, int], pads: tuple[int, int, int, int], flip: bool
) -> None:
    fx, fy = RNG.standard_normal(4), RNG.standard_normal(3)
    flipped_x, flipped_y = (fx[::-1], fy[::-1]) if flip else (fx, fy)
    expected = along(IMAGE, flipped_x, up[0], down[0], pads[:2], axis=3)
    expected = along(expected, flipped_y, up[1], down[1], pads[2:], axis=2) * 1.5
    f = torch.from_numpy(np.outer(fy, fx))
    actual = upfirdn2d(torch.from_numpy(IMAGE), f, up=up, down=down, padding=pads, gain=1.5, flip_filter=flip)
    np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=EXACT * 10)  # two sums


@pytest.mark.parametrize("flip", [False, True])
def test_filter_that_is_no_product_equals_scipy_in_two_dimensions(flip: bool) -> None:
    f = RNG.standard_normal((3, 4))
    stretched = np.zeros((14, 18))
    stretched[::2, ::2] = IMAGE[0, 0]
    padded = np.pad(stretched, ((1, 2), (3, 0)))
    combine = scipy.signal.correlate2d if flip else scipy.signal.convolve2d
    expected = combine(padded, f, mode="valid")[::3, ::3]
    x = torch.from_numpy(IMAGE[:1, :1])
    actual = upfirdn2d(x, torch.from_numpy(f), up=2, down=3, padding=(3, 0, 1, 2), flip_filter=flip)
    np.testing.assert_allclose(actual[0, 0].numpy(), expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("factor", [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)])
def test_shifted_adds_equal_a_depthwise_convolution(factor: tuple[int, int], flip: bool, axis: str) -> None:
    """One row of taps takes the fast CPU path; the same row in a filter of two rows takes the general one."""
    up, down = factor
    x = torch.from_numpy(IMAGE)
    for taps, before, after in product((1, 2, 5, 12), (-3, -1, 0, 2, 7), (-2, 0, 3)):
        if (9 if axis == "x" else 7) * up + before + after < taps:
            continue
        row = torch.from_numpy(RNG.standard_normal(taps))[None]
        rows = torch.cat([row, torch.zeros_like(row)])
        # Flipped, the row of zeros comes last and reads one row below the image, otherwise one above it.
        across = (0, 1) if flip else (1, 0)
        if axis == "x":
            fast = upfirdn2d(x, row, (up, 1), (down, 1), (before, after, 0, 0), 1.5, flip)
            general = upfirdn2d(x, rows, (up, 1), (down, 1), (before, after, *across), 1.5, flip)
        else:
            fast = upfirdn2d(x, row.t(), (1, up), (1, down), (0, 0, before, after), 1.5, flip)
            general = upfirdn2d(x, rows.t(), (1, up), (1, down), (*across, before, after), 1.5, flip)
        torch.testing.assert_close(fast, general, rtol=0, atol=EXACT)
