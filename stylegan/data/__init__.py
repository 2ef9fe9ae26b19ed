"""From image files to batches of training."""

from stylegan.data.archive import ArchiveError
from stylegan.data.dataset import ImageDataset, InfiniteSampler

__all__ = ["ArchiveError", "ImageDataset", "InfiniteSampler"]
