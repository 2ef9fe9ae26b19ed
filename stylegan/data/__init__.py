"""From image files to batches of training."""

from stylegan.data.dataset import ImageDataset, InfiniteSampler
from stylegan.data.layout import ArchiveError

__all__ = ["ArchiveError", "ImageDataset", "InfiniteSampler"]
