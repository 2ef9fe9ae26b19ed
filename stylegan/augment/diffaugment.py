"""Differentiable augmentation of every image that D sees, without a probability (Zhao et al. 2020, Sec. 3 and 4).

N batch, C channels, H W image. Images in [-1, 1]. Random numbers are drawn on the CPU, as those of the pipe are.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.config import COLOUR_CHANNELS, ConfigError

BRIGHTNESS_MAX = 0.5
SATURATION_MAX = 2.0
CONTRAST_MIN, CONTRAST_MAX = 0.5, 1.5
TRANSLATION_MAX = 8  # one of so many parts of the size
CUTOUT_SIZE = 0.5  # of the size


def diffaugment(images: Tensor, operations: Sequence[str]) -> Tensor:
    """Apply the operations, each with other strengths for every image  [N, C, H, W] -> [N, C, H, W]

    Raises ConfigError when color meets images of 2 or more than 4 channels.
    """
    for name in operations:
        images = OPERATIONS[name](images)
    return images


def color(images: Tensor) -> Tensor:
    """Add to the brightness, then scale around the mean of the channels and around the mean of the image; not alpha"""
    n, c = images.shape[:2]
    if c not in COLOUR_CHANNELS:
        raise ConfigError(
            f"augment.diffaugment color knows L, RGB and RGBA images, not {c} channels. Take it out of the list."
        )
    brightness, saturation, contrast = torch.rand(3, n, 1, 1, 1).to(images.device)
    img = images[:, :3] + (2 * brightness - 1) * BRIGHTNESS_MAX
    img = _scaled(img, img.mean(dim=1, keepdim=True), saturation * SATURATION_MAX)
    strength = CONTRAST_MIN + contrast * (CONTRAST_MAX - CONTRAST_MIN)
    img = _scaled(img, img.mean(dim=(1, 2, 3), keepdim=True), strength)
    return torch.cat([img, images[:, 3:]], dim=1) if c == 4 else img


def _scaled(img: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    return (img - mean) * factor + mean


def translation(images: Tensor) -> Tensor:
    """Shift by whole pixels, at most an eighth of the size in each direction; what comes in is zero"""
    n, c, h, w = images.shape
    margin_y, margin_x = h // TRANSLATION_MAX, w // TRANSLATION_MAX
    first_row, first_col = (torch.randint(2 * margin + 1, (n, 1)) for margin in (margin_y, margin_x))
    rows, cols = ((first + torch.arange(size)).to(images.device) for first, size in ((first_row, h), (first_col, w)))
    x = F.pad(images, [margin_x, margin_x, margin_y, margin_y])
    x = x.gather(2, rows[:, None, :, None].expand(-1, c, -1, x.shape[3]))
    return x.gather(3, cols[:, None, None, :].expand(-1, c, h, -1))


def cutout(images: Tensor) -> Tensor:
    """A square of half the size, as far as it lies in the image, is zero"""
    n, _, h, w = images.shape
    center = torch.rand(2, n, 1)
    outside_y, outside_x = (
        ((torch.arange(size) + 0.5) / size - middle).abs() >= CUTOUT_SIZE / 2
        for size, middle in zip((h, w), center, strict=True)
    )  # [N, H], [N, W]
    keep = outside_y[:, None, :, None] | outside_x[:, None, None, :]
    holed: Tensor = images * keep.to(images.device)
    return holed


OPERATIONS = {"color": color, "translation": translation, "cutout": cutout}
