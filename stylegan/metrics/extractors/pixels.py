"""How images reach a network that measures them: as RGB in [0, 255], and at the size it sees.

N images, C channels, H W image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.images import on_white
from stylegan.metrics.arrays import MetricError

# How every image reaches an extractor's input size, unless the extractor resizes itself; part of the metric.
RESIZE_FILTER = "bilinear-antialias"


def to_rgb(img: Tensor) -> Tensor:
    """uint8 [N, C, H, W] -> float32 [N, 3, H, W] in [0, 255]: grey is repeated, transparency is seen on white.

    White, because what is hidden under a transparent pixel must not count, and pages that show images are white.
    Of more than four channels only the first three are seen: no extractor knows others.
    Raises MetricError for another shape or another type.
    """
    if img.dtype != torch.uint8 or img.ndim != 4 or img.shape[1] == 0:
        raise MetricError(
            f"an extractor got {img.dtype} {list(img.shape)}; expected uint8 [N, C, H, W]. "
            "Convert generated images with stylegan.images.to_uint8."
        )
    return on_white(img.to(torch.float32), black=0, white=255)


def resize(rgb: Tensor, size: int) -> Tensor:
    """float [N, 3, H, W] -> [N, 3, size, size], bilinear; filtered against aliasing where it gets smaller"""
    if tuple(rgb.shape[2:]) == (size, size):
        return rgb
    return F.interpolate(rgb, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
