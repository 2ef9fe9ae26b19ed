"""Amplification of octave bands of frequencies (Karras et al. 2020a, App. B.3).

N batch, C channels, H W image, k taps.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Orthogonal wavelet of Daubechies, as in PyWavelets: the filter bank is built from it.
SYM2 = (-0.12940952255126034, 0.2241438680420134, 0.8365163037378079, 0.48296291314453416)
NUM_BANDS = 4
BAND_POWER = torch.tensor([10.0, 1.0, 1.0, 1.0]) / 13  # expected spectrum of natural images, 1/f


def filter_bank() -> Tensor:
    """Octave bands of sym2, from the lowest to the highest frequencies; they sum to the unit impulse  -> [4, 43]

    Each recursion stretches the bands by two, keeps the lower half with H(z)H(1/z)/2 and adds the upper half.
    """
    low = np.asarray(SYM2)
    high = low * (-1) ** np.arange(low.size)
    low2, high2 = np.convolve(low, low[::-1]) / 2, np.convolve(high, high[::-1]) / 2
    bank = np.eye(NUM_BANDS, 1)
    for band in range(1, NUM_BANDS):
        stretched = np.zeros((NUM_BANDS, bank.shape[1] * 2 - 1))
        stretched[:, ::2] = bank
        bank = np.stack([np.convolve(row, low2) for row in stretched])
        middle = (bank.shape[1] - high2.size) // 2
        bank[band, middle : middle + high2.size] += high2
    return torch.from_numpy(bank).float()


FILTER_BANK = filter_bank()


def band_taps(amplitudes: Tensor) -> Tensor:
    """Filters that amplify each band in turn, keeping the expected power  [4, N] -> [N, k]"""
    t = torch.where(torch.eye(NUM_BANDS, dtype=torch.bool)[:, None], amplitudes[:, :, None], 1)  # [4, N, 4]
    norm = (BAND_POWER * t.square()).sum(dim=2, keepdim=True).sqrt()
    gain = torch.ones_like(t[0])
    for band in range(NUM_BANDS):
        gain = gain * t[band] / norm[band]
    return gain @ FILTER_BANK.to(gain)


def filter_each(images: Tensor, taps: Tensor) -> Tensor:
    """Correlate the rows and columns of each image with its own taps, mirrored beyond the border

    [N, C, H, W], [N, k] -> [N, C, H, W]. The taps get no gradient.
    """
    n, c, h, w = images.shape
    pad = taps.shape[1] // 2
    rows = taps[:, None].expand(-1, c, -1).reshape(n * c, 1, 1, -1)
    x = F.pad(images.reshape(1, n * c, h, w), [pad] * 4, mode="reflect")
    for kernel in (rows, rows.transpose(2, 3)):
        x = _Correlate.apply(x, kernel, (0, 0))  # type: ignore[no-untyped-call]
    return x.reshape(n, c, h, w)


class _Correlate(torch.autograd.Function):
    """Linear in the images: the adjoint correlates with the flipped taps, and so on to any derivative.

    torch's own second derivative of a grouped convolution is one convolution for every group.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(kernel)
        ctx.padding = padding
        return F.conv2d(x, kernel, padding=padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (kernel,) = ctx.saved_tensors
        y, x = (side - 1 - pad for side, pad in zip(kernel.shape[2:], ctx.padding, strict=True))
        grad: Tensor = _Correlate.apply(grads[0], kernel.flip((2, 3)), (y, x))  # type: ignore[no-untyped-call]
        return grad, None, None
