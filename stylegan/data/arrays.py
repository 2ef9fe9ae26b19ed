"""Pictures of more channels than an image file can hold, as .npy files: uint8 [H, W, C], never pickled objects."""

import io
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from stylegan.config.modes import CHANNELS, MODES
from stylegan.data.limits import MAX_CHANNELS, MAX_PIXELS

Pixels: TypeAlias = NDArray[np.uint8]
ARRAY_SUFFIX = ".npy"


def is_array(data: bytes) -> bool:
    """Whether a file's bytes are those of a .npy file, by their first six."""
    return data.startswith(npy.MAGIC_PREFIX)


def decode_array(data: bytes) -> Pixels:
    """Bytes of a .npy file -> uint8 [H, W, C]; [H, W] gets one channel.

    Raises ValueError for other types and shapes, and for a file that is cut off: its header alone decides memory.
    """
    file = io.BytesIO(data)
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f".npy of version {version}, expected 1.0 or 2.0")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    if dtype != np.uint8 or len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"{dtype} {list(shape)}, expected uint8 [H, W] or [H, W, C]")
    if prod(shape[:2]) > MAX_PIXELS or prod(shape[2:]) > MAX_CHANNELS:
        raise ValueError(f"{list(shape)}, expected at most {MAX_PIXELS:,} pixels and {MAX_CHANNELS:,} channels")
    left = len(data) - file.tell()
    if left != prod(shape):
        raise ValueError(f"{left} bytes of pixels, expected {' x '.join(map(str, shape))}")
    pixels = np.frombuffer(data, np.uint8, offset=file.tell())
    pixels = pixels.reshape(shape, order="F" if fortran_order else "C")
    return np.ascontiguousarray(pixels.reshape(*shape[:2], -1))


def encode_array(pixels: Pixels) -> bytes:
    """uint8 [H, W, C] -> the bytes of a .npy file, the same from every version of NumPy"""
    file = io.BytesIO()
    npy.write_array(file, np.ascontiguousarray(pixels), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def mode_of(channels: int) -> str:
    """Pillow's name of so many channels, or "5-channel" where it has none"""
    return MODES.get(channels, f"{channels}-channel")


def suffix_of(mode: str) -> str:
    """Of the archive's entries"""
    return ".png" if mode in CHANNELS else ARRAY_SUFFIX
