"""How the images that stage `prepare` wrote are opened by those that train on them or compare with them."""

from pathlib import Path

from stylegan.data import ImageDataset
from stylegan.data.dataset import Split

SPLIT: Split = "train"  # published FIDs compare with the images that were trained on


def open_dataset(
    archive: Path, *, use_labels: bool, xflip: bool = False, max_images: int | None = None
) -> ImageDataset:
    """The images that are trained on and compared with

    Raises ArchiveError.
    """
    return ImageDataset(archive, use_labels=use_labels, xflip=xflip, split=SPLIT, max_images=max_images)
