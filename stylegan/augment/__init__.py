"""Discriminator augmentation: 18 transforms, the controller of their probability, and DiffAugment."""

from stylegan.augment.ada import adjust_p, validation_ratio
from stylegan.augment.diffaugment import diffaugment
from stylegan.augment.pipe import AugmentPipe

__all__ = ["AugmentPipe", "adjust_p", "diffaugment", "validation_ratio"]
