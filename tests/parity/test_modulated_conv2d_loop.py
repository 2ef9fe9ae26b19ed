"""modulated_conv2d against one image and one explicit kernel at a time (Karras et al. 2020, Eq. 1-3)."""

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
import torch

from stylegan.ops import modulated_conv2d, setup_filter

Array = npt.NDArray[np.float64]
FILTER = setup_filter([1.0, 3.0, 3.0, 1.0])


def kernel_of(weight: Array, style: Array, demodulate: bool) -> Array:
    """[O, I, k, k] of one image"""
    modulated = np.array([[weight[o, i] * style[i] for i in range(len(style))] for o in range(len(weight))])
    if not demodulate:
        return modulated
    return np.array([kernel / np.sqrt((kernel**2).sum() + 1e-8) for kernel in modulated])


def correlate(x: Array, kernel: Array) -> Array:
    """[I, H, W], [I, k, k] -> [H, W]"""
    return sum(scipy.signal.correlate2d(c, k, mode="same") for c, k in zip(x, kernel, strict=True))  # type: ignore[return-value]


def convolve_doubled(x: Array, kernel: Array) -> Array:
    """[I, H, W], [I, k, k] -> [2 H, 2 W]: zeros between pixels, convolution, low-pass filter of gain 4"""
    total = np.zeros((2 * x.shape[1], 2 * x.shape[2]))
    for channel, k in zip(x, kernel, strict=True):
        stretched = np.zeros_like(total)
        stretched[::2, ::2] = channel
        full = scipy.signal.convolve2d(scipy.signal.convolve2d(stretched, k), FILTER.double().numpy()) * 4
        # The filter's centre of mass lies half a pixel after tap 1, so its grid begins there, and the kernel's
        # k // 2 pixels later.
        first = 1 + kernel.shape[-1] // 2
        total += full[first : first + total.shape[0], first : first + total.shape[1]]
    return total


@pytest.mark.parametrize("demodulate", [False, True])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("up", [1, 2])
def test_batch_equals_a_loop_over_images_and_kernels(up: int, k: int, demodulate: bool) -> None:
    rng = np.random.default_rng(0)
    x, styles = rng.standard_normal((3, 2, 4, 5)), rng.standard_normal((3, 2))
    weight = rng.standard_normal((4, 2, k, k))
    actual = modulated_conv2d(
        torch.from_numpy(x), torch.from_numpy(weight), torch.from_numpy(styles), FILTER, up=up, demodulate=demodulate,
    )  # fmt: skip
    combine = correlate if up == 1 else convolve_doubled
    expected = [
        [combine(image, kernel) for kernel in kernel_of(weight, style, demodulate)]
        for image, style in zip(x, styles, strict=True)
    ]
    np.testing.assert_allclose(actual.numpy(), expected, rtol=0, atol=1e-12)  # fp64 sums in another order
