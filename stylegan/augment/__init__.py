"""Discriminator augmentation: 18 transforms and the controller of their probability."""

from stylegan.augment.ada import adjust_p
from stylegan.augment.pipe import AugmentPipe

__all__ = ["AugmentPipe", "adjust_p"]
