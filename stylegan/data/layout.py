"""What an archive of images looks like: the names that its writer and its readers share, and their error."""

from stylegan.data.arrays import ARRAY_SUFFIX
from stylegan.text import OneLineError

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".jp2", ".avif", ".heic", ".heif", ".hif"),
    ARRAY_SUFFIX,
)
INDEX = "dataset.json"


class ArchiveError(OneLineError):
    """A source or an archive of images cannot be used; the message names the file and the remedy."""
