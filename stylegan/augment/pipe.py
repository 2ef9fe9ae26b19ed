"""The augmentation pipe: 18 transforms that do not leak into the generator while p stays below about 0.8.

N batch, C channels, H W image, k taps. Strengths are those of Karras et al. 2020a, App. B, Table 4-5.
"""

import math
from typing import Self

import torch
from torch import Tensor, nn

from stylegan.augment import transforms as T
from stylegan.augment.bands import band_taps, filter_each
from stylegan.augment.one_copy import copy_together
from stylegan.augment.warp import Warp, plan_warp, warp
from stylegan.config import COLOUR_CHANNELS, ConfigError
from stylegan.config.sections import MultipliersConfig

# In the order in which they are drawn. Spans and shifts are parts of the image size, powers those of two.
STRENGTHS = (
    T.Strength("xflip", "count", 2),
    T.Strength("rotate90", "count", 4),
    T.Strength("xint", "span", 0.125, width=2),
    T.Strength("scale", "power", 0.2),
    T.Strength("rotate", "span", math.pi),
    T.Strength("aniso", "power", 0.2),
    T.Strength("rotate", "span", math.pi, at_percentile=False),
    T.Strength("xfrac", "normal", 0.125, width=2),
    T.Strength("brightness", "normal", 0.2),
    T.Strength("contrast", "power", 0.5),
    T.Strength("lumaflip", "count", 2),
    T.Strength("hue", "span", math.pi),
    T.Strength("saturation", "power", 1.0),
    *[T.Strength("imgfilter", "power", 1.0)] * 4,  # one for each band
    T.Strength("noise", "half_normal", 0.1),
)
HALF_TURN = T.Strength("rotate90", "count", 2)
CUTOUT_SIZE = 0.5  # of the image size


class AugmentPipe(nn.Module):
    """Apply every transform to every image with probability multiplier * p.  img [N, C, H, W] -> [N, C, H, W]"""

    def __init__(self, multipliers: MultipliersConfig) -> None:
        super().__init__()
        self.multipliers = multipliers

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
        (rotation once), for tests. Raises ConfigError if colour transforms meet images of 2 or more than 4 channels.
        """
        n, _, h, w = images.shape
        strengths = T.draw(n, self._rows(images, p, percentile), percentile)
        noise = torch.randn_like(images) if "noise" in strengths else None
        hole = _draw_hole(n, self.multipliers.cutout * p, percentile) if self.multipliers.cutout > 0 else None
        motion = plan_warp(T.geometry(strengths, n, h, w), h, w)
        small = copy_together(_small_numbers(images, strengths, motion, hole), images)
        if motion is not None:
            images = warp(images, small["moving"], small["theta"], motion.margins)
        if "linear" in small:
            images = (small["linear"] @ images.flatten(2) + small["shift"]).reshape(images.shape)
        if "taps" in small:
            images = filter_each(images, small["taps"])
        if noise is not None:
            images = images + noise * small["sigma"]
        if hole is not None:
            images = images * (small["outside_x"].bool() | small["outside_y"].bool())
        return images

    def _rows(self, images: Tensor, p: float, percentile: float | None) -> list[tuple[T.Strength, float]]:
        """Strengths of the transforms that are on, each with its probability"""
        c, h, w = images.shape[1:]
        multiplier = self.multipliers.model_dump()
        if c not in COLOUR_CHANNELS and any(multiplier[name] for name in T.COLOURS):
            raise ConfigError(
                f"colour transforms know L, RGB and RGBA images, not {c} channels. Set augment.multipliers "
                "brightness, contrast, lumaflip, hue and saturation to 0."
            )
        probability = {name: value * p for name, value in multiplier.items() if value > 0}
        if c == 1:
            probability = {name: value for name, value in probability.items() if name not in ("hue", "saturation")}
        if "rotate" in probability:  # twice, so that P(either) = p
            probability["rotate"] = 1 - math.sqrt(max(1 - probability["rotate"], 0))
        return [
            # A quarter turn does not fit into images that are not square; those get none or half a turn, equally often.
            (strength if strength.transform != "rotate90" or h == w else HALF_TURN, probability[strength.transform])
            for strength in STRENGTHS
            if strength.transform in probability and (percentile is None or strength.at_percentile)
        ]


def _small_numbers(
    images: Tensor, strengths: T.Strengths, motion: Warp | None, hole: tuple[Tensor, Tensor] | None
) -> dict[str, Tensor]:
    """What the device needs to transform images, by name; on the CPU"""
    n, c, h, w = images.shape
    small = {} if motion is None else {"moving": motion.moving, "theta": motion.theta}
    matrix = T.color(strengths, n)
    if not torch.equal(matrix, torch.eye(4).expand_as(matrix)):  # of all images, as long as p is 0
        small["linear"], small["shift"] = _color_map(matrix, c)
    if "imgfilter" in strengths:
        small["taps"] = band_taps(torch.stack(list(strengths["imgfilter"])))
    if "noise" in strengths:
        small["sigma"] = strengths["noise"][0][:, None, None, None]
    if hole is not None:
        small["outside_x"] = _outside(hole, 0, w)[:, None, None, :]
        small["outside_y"] = _outside(hole, 1, h)[:, None, :, None]
    return small


def _color_map(matrix: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Of homogeneous RGB [N, 4, 4] -> of C channels [N, C, C] and what is added [N, C, 1]; alpha stays as it is"""
    if channels == 1:  # grey takes the mean over the rows
        row = matrix[:, :3].mean(dim=1, keepdim=True)
        return row[..., :3].sum(dim=2, keepdim=True), row[..., 3:]
    if channels == 3:
        return matrix[:, :3, :3], matrix[:, :3, 3:]
    homogeneous = torch.arange(4) < 3  # not the last coordinate, whose place alpha takes
    return torch.where(homogeneous | ~homogeneous[:, None], matrix, 0), torch.where(
        homogeneous[:, None], matrix[:, :, 3:], 0
    )


def _draw_hole(n: int, probability: float, percentile: float | None) -> tuple[Tensor, Tensor]:
    """Size of what is cut out of each image and its centre, both as parts of the image size  -> [N], [N, 2]"""
    if percentile is not None:
        return torch.full((n,), CUTOUT_SIZE), torch.full((n, 2), percentile)
    coin, center = torch.rand(n * 3).split([n, n * 2])
    return (coin < probability) * CUTOUT_SIZE, center.view(n, 2)


def _outside(hole: tuple[Tensor, Tensor], axis: int, size: int) -> Tensor:
    """Pixels along an axis (0: x, 1: y) that are not cut out  -> [N, size]"""
    extent, center = hole
    position = (torch.arange(size) + 0.5) / size
    return (position - center[:, axis, None]).abs() >= extent[:, None] / 2
