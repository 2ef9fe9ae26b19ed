"""The arithmetic of a training step from the widths of the networks: the measure by which times are extrapolated.

FLOPs count a product and a sum as two. Knows no torch, so that intervals in minutes cost nothing to choose.
"""

from stylegan.config import Config
from stylegan.config.pyramid import Pyramid, pyramid
from stylegan.config.sections import LossConfig

TAPS = 9  # of a 3 x 3 kernel


def flops_per_image(config: Config) -> float:
    """FLOPs of a step for each image of its batch, the lazy regularisers shared out.

    A backward pass costs twice the forward one, once where the weights do not learn; a second derivative as much again.
    """
    G, D = forward_flops(config)
    loss = config.loss
    main = 4 * G + 8 * D  # Gmain: G 3, D 2; Dmain: G 1, D 3 for each of two kinds of images
    path_length = 8 * G / loss.pl_batch_shrink / loss.g_reg_interval if loss.pl_weight > 0 else 0.0
    penalty = 9 * D / loss.d_reg_interval if _has_penalty(loss) else 0.0
    return main + path_length + penalty


def _has_penalty(loss: LossConfig) -> bool:
    return (loss.gp_weight if loss.d_regularizer == "gp" else loss.r1_gamma) > 0


def forward_flops(config: Config) -> tuple[float, float]:
    """FLOPs of one image in G and in D: of their 3 x 3 convolutions, resampling ones at the lower size"""
    levels = pyramid(config.prepare.resolution)
    return (
        _pyramid_flops(levels, config.generator.channel_base, config.generator.channel_max),
        _pyramid_flops(levels, config.discriminator.channel_base, config.discriminator.channel_max),
    )


def _pyramid_flops(levels: Pyramid, channel_base: int, channel_max: int) -> float:
    widths = [min(channel_base // levels.longer_side(level), channel_max) for level in range(levels.num_doublings + 1)]
    areas = [height * width for height, width in map(levels.size, range(levels.num_doublings + 1))]
    plain = sum(area * width**2 for area, width in zip(areas, widths, strict=True))
    resampling = sum(area * low * high for area, low, high in zip(areas, widths, widths[1:], strict=False))
    return 2.0 * TAPS * (plain + resampling)
