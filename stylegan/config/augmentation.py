"""What the modes of augmentation mean: the checks of the configuration and the training ask the same functions.

Part of a run's name, as pyramid.py is: it decides weights. Knows no torch.
"""

from stylegan.config.sections import AugmentConfig


def adapts(augment: AugmentConfig) -> bool:
    """Whether p moves"""
    return augment.mode in ("ada", "ada_rv")


def uses_p(augment: AugmentConfig) -> bool:
    """Whether images go through the transforms that `multipliers` weighs"""
    return adapts(augment) or augment.mode == "fixed"
