"""The wavelet filters and the filter bank against PyWavelets."""

import numpy as np
import numpy.typing as npt
import pytest
import pywt

from stylegan.augment.bands import SYM2, filter_bank
from stylegan.augment.warp import SYM6

Array = npt.NDArray[np.float64]
FREQUENCIES = np.linspace(0, np.pi, 257)


@pytest.mark.parametrize(("name", "taps"), [("sym2", SYM2), ("sym6", SYM6)])
def test_taps_are_those_of_pywavelets(name: str, taps: tuple[float, ...]) -> None:
    np.testing.assert_allclose(taps, pywt.Wavelet(name).dec_lo, rtol=0, atol=1e-11)  # tables differ in the last digits


def response(taps: Array, frequencies: Array) -> Array:
    """Of a filter centred on its middle tap; real, since the bands are symmetric"""
    positions = np.arange(len(taps)) - len(taps) // 2
    values: Array = np.cos(np.outer(frequencies, positions)) @ taps
    return values


def test_bands_sum_to_the_unit_impulse() -> None:
    impulse = np.zeros(43)
    impulse[21] = 1
    np.testing.assert_allclose(filter_bank().sum(dim=0), impulse, atol=1e-7)  # fp32


def test_bands_are_symmetric() -> None:
    np.testing.assert_allclose(filter_bank(), filter_bank().flip(1), atol=1e-7)  # fp32


def test_bands_split_the_power_as_the_wavelet_does() -> None:
    """Each octave is the power response of the high-pass filter, below the low-pass ones of the octaves above it."""
    sym2 = pywt.Wavelet("sym2")

    def power(taps: list[float], stretch: int) -> Array:
        values: Array = np.abs(np.exp(-1j * np.outer(FREQUENCIES * stretch, np.arange(4))) @ taps) ** 2 / 2
        return values

    low, high = ([power(taps, stretch) for stretch in (1, 2, 4)] for taps in (sym2.dec_lo, sym2.dec_hi))
    expected = [low[0] * low[1] * low[2], low[0] * low[1] * high[2], low[0] * high[1], high[0]]
    for band, (taps, values) in enumerate(zip(filter_bank().numpy(), expected, strict=True)):
        np.testing.assert_allclose(response(taps, FREQUENCIES), values, atol=1e-6, err_msg=f"band {band}")  # fp32
