"""Differentiable augmentation of every image that D sees, without a probability (Zhao et al. 2020, Sec. 3 and 4).

N batch, C channels, H W image. Images in [-1, 1]. Random numbers are drawn on the CPU, as those of the pipe are.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.augment.one_copy import copy_together
from stylegan.config import COLOUR_CHANNELS, ConfigError

BRIGHTNESS_MAX = 0.5
SATURATION_MAX = 2.0
CONTRAST_MIN, CONTRAST_MAX = 0.5, 1.5
TRANSLATION_MAX = 8  # one of so many parts of the size
CUTOUT_SIZE = 0.5  # of the size


def diffaugment(images: Tensor, operations: Sequence[str]) -> Tensor:
    """Apply the operations, each with other strengths for every image  [N, C, H, W] -> [N, C, H, W]

    Raises ConfigError if color meets images of 2 or more than 4 channels.
    """
    strengths = copy_together({name: OPERATIONS[name][0](images) for name in operations}, images)
    for name in operations:
        images = OPERATIONS[name][1](images, strengths[name])
    return images


def draw_color(images: Tensor) -> Tensor:
    """Brightness, saturation and contrast  -> [3, N, 1, 1, 1]"""
    n, c = images.shape[:2]
    if c not in COLOUR_CHANNELS:
        raise ConfigError(
            f"augment.diffaugment color knows L, RGB and RGBA images, not {c} channels. Take it out of the list."
        )
    return torch.rand(3, n, 1, 1, 1)


def color(images: Tensor, strengths: Tensor) -> Tensor:
    """Add to the brightness, then scale around the mean of the channels and around the mean of the image; not alpha"""
    brightness, saturation, contrast = strengths
    img = images[:, :3] + (2 * brightness - 1) * BRIGHTNESS_MAX
    img = _scaled(img, img.mean(dim=1, keepdim=True), saturation * SATURATION_MAX)
    strength = CONTRAST_MIN + contrast * (CONTRAST_MAX - CONTRAST_MIN)
    img = _scaled(img, img.mean(dim=(1, 2, 3), keepdim=True), strength)
    return torch.cat([img, images[:, 3:]], dim=1) if images.shape[1] == 4 else img


def _scaled(img: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    return (img - mean) * factor + mean


def draw_translation(images: Tensor) -> Tensor:
    """First row and column of each image within the padded one  -> [2, N, 1]"""
    n, _, h, w = images.shape
    return torch.stack([torch.randint(2 * (size // TRANSLATION_MAX) + 1, (n, 1)) for size in (h, w)])


def translation(images: Tensor, first: Tensor) -> Tensor:
    """Shift by whole pixels, at most an eighth of the size in each direction; what comes in is zero"""
    _, c, h, w = images.shape
    margin_y, margin_x = h // TRANSLATION_MAX, w // TRANSLATION_MAX
    rows, cols = (
        start + torch.arange(size, device=images.device) for start, size in zip(first.long(), (h, w), strict=True)
    )
    x = F.pad(images, [margin_x, margin_x, margin_y, margin_y])
    x = x.gather(2, rows[:, None, :, None].expand(-1, c, -1, x.shape[3]))
    return x.gather(3, cols[:, None, None, :].expand(-1, c, h, -1))


def draw_cutout(images: Tensor) -> Tensor:
    """Centre of the square as a part of height and width  -> [2, N, 1]"""
    return torch.rand(2, images.shape[0], 1)


def cutout(images: Tensor, center: Tensor) -> Tensor:
    """A square of half the size, as far as it lies in the image, is zero"""
    outside_y, outside_x = (
        ((torch.arange(size, device=images.device) + 0.5) / size - middle).abs() >= CUTOUT_SIZE / 2
        for size, middle in zip(images.shape[2:], center, strict=True)
    )  # [N, H], [N, W]
    holed: Tensor = images * (outside_y[:, None, :, None] | outside_x[:, None, None, :])
    return holed


# How the strengths of each operation are drawn on the CPU, and how it is done
OPERATIONS = {
    "color": (draw_color, color),
    "translation": (draw_translation, translation),
    "cutout": (draw_cutout, cutout),
}
