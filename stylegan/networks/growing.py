"""Progressive growing: how far the networks have come, and images at that level (Karras et al. 2018, Sec. 2, Fig. 2).

A level is a number: 1 is the pyramid's level 1, and 1.25 fades level 2 in with a weight of a quarter. It is a function
of the position and the configuration, so there is no state to keep. N batch, C channels, H W image.

Images are of full size at every level, of squares of equal pixels where the networks have not come further, and
gradient penalties are with respect to them. At the reduced size a gradient's square would be 4 times larger for each
level that is missing; the papers leave open which they take.
"""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from stylegan.config.pyramid import Resolution, pyramid
from stylegan.config.sections import TrainConfig


def level_at(cur_nimg: int, train: TrainConfig, img_resolution: Resolution) -> float | None:
    """Level that networks have reached after cur_nimg images; None if they do not grow

    Each is stable for grow_stable_kimg before the next fades in during grow_fade_kimg.
    """
    if train.grow_from is None:
        return None
    levels = pyramid(img_resolution)
    stable, fade = (max(round(kimg * 1000), 1) for kimg in (train.grow_stable_kimg, train.grow_fade_kimg))
    stage, position = divmod(cur_nimg, stable + fade)
    level = levels.nominal.index(train.grow_from) + stage + max(position - stable, 0) / fade
    return float(min(level, levels.num_doublings))


def largest_level(train: TrainConfig, img_resolution: Resolution) -> float | None:
    """At which growing networks compute most: the last is being faded in; None if they do not grow"""
    return None if train.grow_from is None else pyramid(img_resolution).num_doublings - 0.5


def shrink(img: Tensor, halvings: int) -> Tensor:
    """Mean over squares of pixels  [N, C, H, W] -> [N, C, H / 2^halvings, W / 2^halvings]"""
    return F.avg_pool2d(img, 2**halvings) if halvings else img


def enlarge(img: Tensor, doublings: int) -> Tensor:
    """Squares of equal pixels  [N, C, H, W] -> [N, C, H * 2^doublings, W * 2^doublings]"""
    return F.interpolate(img, scale_factor=2**doublings, mode="nearest") if doublings else img


def faded(images: Sequence[Tensor], level: float) -> Tensor:
    """The last image, or while it fades in a mixture with the one before  ->  [N, C, h, w] of the last"""
    alpha = level % 1
    return enlarge(images[-2], 1).lerp(images[-1], alpha) if alpha else images[-1]


def at_level(img: Tensor, level: float, highest: int) -> Tensor:
    """A real image as a generator of that level would draw it  [N, C, H, W] -> the same, of squares of equal pixels"""
    missing = highest - math.ceil(level)
    img = shrink(img, missing)
    return enlarge(faded([shrink(img, 1), img], level), missing)
