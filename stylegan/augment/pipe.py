"""The augmentation pipe: 18 transforms that do not leak into the generator while p stays below about 0.8.

N batch, C channels, H W image, k taps. Strengths are those of Karras et al. 2020a, App. B, Table 4-5.
"""

import math
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylegan.augment import transforms as T
from stylegan.augment.warp import warp
from stylegan.config import ConfigError
from stylegan.sections import MultipliersConfig

# Orthogonal wavelet of Daubechies, as in PyWavelets: the filter bank is built from it.
SYM2 = (-0.12940952255126034, 0.2241438680420134, 0.8365163037378079, 0.48296291314453416)
BAND_POWER = torch.tensor([10.0, 1.0, 1.0, 1.0]) / 13  # expected spectrum of natural images, 1/f

XINT_MAX = 0.125  # of the image size
SCALE_STD = 0.2  # of log2
XFRAC_STD = 0.125  # of the image size
BRIGHTNESS_STD = 0.2
CONTRAST_STD = 0.5  # of log2
SATURATION_STD = 1.0  # of log2
IMGFILTER_STD = 1.0  # of log2
NOISE_STD = 0.1
CUTOUT_SIZE = 0.5  # of the image size


def filter_bank() -> Tensor:
    """Octave bands of sym2, from the lowest to the highest frequencies; they sum to the unit impulse  -> [4, 43]

    Each recursion stretches the bands by two, keeps the lower half with H(z)H(1/z)/2 and adds the upper half
    (Karras et al. 2020a, App. B.3).
    """
    low = np.asarray(SYM2)
    high = low * (-1) ** np.arange(low.size)
    low2, high2 = np.convolve(low, low[::-1]) / 2, np.convolve(high, high[::-1]) / 2
    bank = np.eye(4, 1)
    for band in range(1, 4):
        stretched = np.zeros((4, bank.shape[1] * 2 - 1))
        stretched[:, ::2] = bank
        bank = np.stack([np.convolve(row, low2) for row in stretched])
        middle = (bank.shape[1] - high2.size) // 2
        bank[band, middle : middle + high2.size] += high2
    return torch.from_numpy(bank).float()


class AugmentPipe(nn.Module):
    """Apply every transform to every image with probability multiplier * p.  img [N, C, H, W] -> [N, C, H, W]"""

    Hz_fbank: Tensor

    def __init__(self, multipliers: MultipliersConfig) -> None:
        super().__init__()
        self.multipliers = multipliers
        self.register_buffer("Hz_fbank", filter_bank(), persistent=False)

    @classmethod
    def from_multipliers(cls, **multipliers: float) -> Self:
        """Pipe with the named transforms; the others are off. Raises ConfigError for an unknown name."""
        names = list(MultipliersConfig.model_fields)
        unknown = sorted(set(multipliers) - set(names))
        if unknown:
            raise ConfigError(f"{', '.join(unknown)}: no such transform; known: {', '.join(names)}")
        return cls(MultipliersConfig(**{name: float(multipliers.get(name, 0)) for name in names}))

    def forward(self, images: Tensor, p: float, percentile: float | None = None) -> Tensor:
        """Augment images in [-1, 1] with probability p.

        percentile in (0, 1) fixes every strength at that percentile of its distribution and applies every transform
        (rotation once), for tests. Raises ConfigError when colour transforms meet images of 2 or more than 4 channels.
        """
        draws = T.Draws(images.shape[0], p, percentile)
        images = warp(images, self._geometry(draws, *images.shape[2:]))
        images = self._color(images, draws)
        if self.multipliers.imgfilter > 0:
            images = self._filter(images, draws)
        if self.multipliers.noise > 0:
            sigma = draws.choose(self.multipliers.noise * p, draws.half_normal() * NOISE_STD, 0)
            images = images + torch.randn_like(images) * sigma.to(images.device)[:, None, None, None]
        return self._cutout(images, draws) if self.multipliers.cutout > 0 else images

    def _geometry(self, draws: T.Draws, height: int, width: int) -> Tensor:
        """Inverse map from output to input pixels about the image centre  -> [N, 3, 3]"""
        m, p = self.multipliers, draws.p
        inverse = T.identity(draws.n, 3)
        if m.xflip > 0:
            flip = draws.choose(m.xflip * p, (draws.uniform() * 2).floor(), 0)
            inverse = inverse @ T.scale2d(1 - 2 * flip, torch.ones(draws.n))
        if m.rotate90 > 0:
            # A quarter turn does not fit into images that are not square; those get none or half a turn, equally often.
            step = 1 if height == width else 2
            turns = draws.choose(m.rotate90 * p, (draws.uniform() * (4 // step)).floor() * step, 0)
            inverse = inverse @ T.rotate2d(turns * (math.pi / 2))
        if m.xint > 0:
            shift = draws.choose(m.xint * p, (draws.uniform(2) * 2 - 1) * XINT_MAX, 0)
            inverse = inverse @ T.translate2d(-(shift[:, 0] * width).round(), -(shift[:, 1] * height).round())
        if m.scale > 0:
            factor = draws.choose(m.scale * p, torch.exp2(draws.normal() * SCALE_STD), 1)
            inverse = inverse @ T.scale2d(1 / factor, 1 / factor)
        # Two rotations around the anisotropic scaling, so that P(pre or post) = p.
        p_rot = 1 - math.sqrt(max(1 - m.rotate * p, 0))
        if m.rotate > 0:
            theta = draws.choose(p_rot, (draws.uniform() * 2 - 1) * math.pi, 0)
            inverse = inverse @ T.rotate2d(theta)
        if m.aniso > 0:
            factor = draws.choose(m.aniso * p, torch.exp2(draws.normal() * SCALE_STD), 1)
            inverse = inverse @ T.scale2d(1 / factor, factor)
        if m.rotate > 0 and draws.percentile is None:
            theta = draws.choose(p_rot, (draws.uniform() * 2 - 1) * math.pi, 0)
            inverse = inverse @ T.rotate2d(theta)
        if m.xfrac > 0:
            shift = draws.choose(m.xfrac * p, draws.normal(2) * XFRAC_STD, 0)
            inverse = inverse @ T.translate2d(-shift[:, 0] * width, -shift[:, 1] * height)
        return inverse

    def _color(self, images: Tensor, draws: T.Draws) -> Tensor:
        m, p, channels = self.multipliers, draws.p, images.shape[1]
        if max(m.brightness, m.contrast, m.lumaflip, m.hue, m.saturation) == 0:
            return images
        if channels not in (1, 3, 4):
            raise ConfigError(
                f"colour transforms know L, RGB and RGBA images, not {channels} channels. Set augment.multipliers "
                "brightness, contrast, lumaflip, hue and saturation to 0."
            )
        matrix = T.identity(draws.n, 4)
        if m.brightness > 0:
            matrix = T.brightness(draws.choose(m.brightness * p, draws.normal() * BRIGHTNESS_STD, 0)) @ matrix
        if m.contrast > 0:
            matrix = T.contrast(draws.choose(m.contrast * p, torch.exp2(draws.normal() * CONTRAST_STD), 1)) @ matrix
        if m.lumaflip > 0:
            matrix = T.luma_flip(draws.choose(m.lumaflip * p, (draws.uniform() * 2).floor(), 0)) @ matrix
        if m.hue > 0 and channels > 1:
            matrix = T.rotate_hue(draws.choose(m.hue * p, (draws.uniform() * 2 - 1) * math.pi, 0)) @ matrix
        if m.saturation > 0 and channels > 1:
            factor = torch.exp2(draws.normal() * SATURATION_STD)
            matrix = T.saturate(draws.choose(m.saturation * p, factor, 1)) @ matrix
        if torch.equal(matrix, T.identity(draws.n, 4)):
            return images  # all of them, as long as p is 0
        return _recolor(images, matrix.to(images.device))

    def _filter(self, images: Tensor, draws: T.Draws) -> Tensor:
        """Amplify frequency bands at constant expected power."""
        n, c, h, w = images.shape
        gain = torch.ones(n, 4)
        for band in range(4):
            amplitude = draws.choose(
                self.multipliers.imgfilter * draws.p, torch.exp2(draws.normal() * IMGFILTER_STD), 1
            )
            t = torch.ones(n, 4)
            t[:, band] = amplitude
            gain = gain * t / (BAND_POWER * t.square()).sum(dim=1, keepdim=True).sqrt()
        taps = gain.to(images.device) @ self.Hz_fbank  # [N, k]
        taps = taps[:, None].expand(-1, c, -1).reshape(n * c, 1, 1, -1)
        pad = self.Hz_fbank.shape[1] // 2
        x = F.pad(images.reshape(1, n * c, h, w), [pad] * 4, mode="reflect")
        x = F.conv2d(F.conv2d(x, taps, groups=n * c), taps.transpose(2, 3), groups=n * c)
        return x.reshape(n, c, h, w)

    def _cutout(self, images: Tensor, draws: T.Draws) -> Tensor:
        h, w = images.shape[2:]
        size = draws.choose(self.multipliers.cutout * draws.p, torch.full((draws.n, 1), CUTOUT_SIZE), 0)
        center = draws.uniform(2)
        outside_x = ((torch.arange(w) + 0.5) / w - center[:, :1]).abs() >= size / 2  # [N, W]
        outside_y = ((torch.arange(h) + 0.5) / h - center[:, 1:]).abs() >= size / 2
        keep = outside_x[:, None, None, :] | outside_y[:, None, :, None]
        return images * keep.to(images.device)


def _recolor(images: Tensor, matrix: Tensor) -> Tensor:
    """Apply [N, 4, 4] to the colours of [N, C, H, W]; grey takes the mean over the rows, alpha stays."""
    n, c, h, w = images.shape
    if c == 1:
        row = matrix[:, :3].mean(dim=1)  # [N, 4]
        return images * row[:, :3].sum(dim=1)[:, None, None, None] + row[:, 3][:, None, None, None]
    rgb = images[:, :3].reshape(n, 3, h * w)
    rgb = (matrix[:, :3, :3] @ rgb + matrix[:, :3, 3:]).reshape(n, 3, h, w)
    return rgb if c == 3 else torch.cat([rgb, images[:, 3:]], dim=1)
