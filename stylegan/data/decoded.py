"""Where pixels stay once they are decoded: in memory, or in a file that all processes of a machine share.

Both fill themselves as images are asked for, so nothing waits at the start, and any number of threads may read.
N batch, C channels, H W image.
"""

import glob
import os
import shutil
import warnings
import zlib
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stylegan.data.arrays import Pixels
from stylegan.data.dataset import ImageDataset

CHECK_BYTES = 8
BLOCK_BYTES = 512  # of st_blocks
UNKNOWN_MEMORY = 2**32  # where the system does not tell
# Limit and use of a container's memory, and which of its statistics counts files that give way (cgroup 2 and 1).
CONTAINER_FILES = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)
MACHINE, CONTAINER = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


class Source(Protocol):
    """What gives decoded images."""

    def read(self, rows: NDArray[np.int64], out: Pixels) -> None:
        """Put images, not mirrored, into uint8 [N, C, H, W]."""


class InMemory:
    """Decoded images in this process's memory; what nobody asked for takes none."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset
        self.pixels: Pixels = np.empty((dataset.num_images, *dataset.img_shape), np.uint8)
        self.is_there = np.zeros(dataset.num_images, np.bool_)

    def read(self, rows: NDArray[np.int64], out: Pixels) -> None:
        """Put images into uint8 [N, C, H, W], and keep those that are new. Raises as ImageDataset.read."""
        for row in rows[~self.is_there[rows]]:
            self.dataset.read(np.array([row]), self.pixels[row : row + 1])
            self.is_there[row] = True
        np.take(self.pixels, rows, axis=0, out=out, mode="clip")  # another mode would go through a copy


class SharedFile:
    """Decoded images of an archive in one file for all processes that train on it, and for those after them.

    <archive's folder>/.<archive's name>.<digest>.pixels holds, for every image of the archive, 8 bytes that are zero or
    made from the CRC-32 of its pixels, and the pixels. A process writes what it had to decode, and believes what it
    reads if the CRC-32 is right: so any number of processes may write at once, a kill at any moment costs one image,
    and what is damaged or cut off is decoded again. Images that nobody asked for take no blocks of the disk.
    It is read by pread: a mapping is as fast (docs/data.md), but ends the process when a disk is full or a file is cut.
    """

    def __init__(self, dataset: ImageDataset, path: Path) -> None:
        """Raises OSError if the file cannot be."""
        self.dataset, self.path = dataset, path
        self.num_bytes = int(np.prod(dataset.img_shape))
        self.is_checked = np.zeros(dataset.num_images, np.bool_)  # by this process
        self.is_written_to = True
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        os.ftruncate(self._fd, dataset.num_in_archive * self.record_bytes)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    @property
    def record_bytes(self) -> int:
        return CHECK_BYTES + self.num_bytes

    def read(self, rows: NDArray[np.int64], out: Pixels) -> None:
        """Put images into uint8 [N, C, H, W], and keep those that are new. Raises as ImageDataset.read."""
        for row, pixels in zip(rows, out, strict=True):
            if not self._found(row, pixels):
                self.dataset.read(np.array([row]), pixels[None])
                self._keep(row, pixels)

    def _found(self, row: int, pixels: Pixels) -> bool:
        check = bytearray(CHECK_BYTES)
        try:
            count = os.preadv(self._fd, [check, _flat(pixels)], self._place(row))
        except OSError:  # a disk that fails: the archive has the image too
            return False
        if not self.is_checked[row]:
            self.is_checked[row] = count == self.record_bytes and bytes(check) == _check(pixels)
        return bool(self.is_checked[row]) and count == self.record_bytes and any(check)

    def _keep(self, row: int, pixels: Pixels) -> None:
        if not self.is_written_to:
            return
        try:
            count = os.pwritev(self._fd, [_check(pixels), _flat(pixels)], self._place(row))
            self.is_checked[row] = count == self.record_bytes
        except OSError as error:
            self.is_written_to = False
            warnings.warn(
                f"{self.path}: {error.strerror}. Images that it lacks are decoded anew each time.", stacklevel=2
            )

    def _place(self, row: int) -> int:
        return int(self.dataset.archive_rows[row]) * self.record_bytes


def file_beside(dataset: ImageDataset) -> Path:
    """The file for an archive's pixels; those of an archive that lay in its place before are removed."""
    archive = dataset.path
    path = archive.with_name(f".{archive.name}.{dataset.digest_of_contents()[:16]}.pixels")
    for old in archive.parent.glob(f".{glob.escape(archive.name)}.*.pixels"):
        if old != path:
            old.unlink(missing_ok=True)  # a process that reads it continues doing so
    return path


def free_bytes(path: Path) -> int:
    """What a file could take on its disk, with what it has already"""
    taken = path.stat().st_blocks * BLOCK_BYTES if path.exists() else 0
    return shutil.disk_usage(path.parent).free + taken


def available_memory() -> int:
    """Bytes that this process can take before anything is swapped or killed: of the machine, or of its container"""
    found = [int(_words(MACHINE)["MemAvailable:"]) * 1024] if MACHINE.exists() else []
    for limit, used, statistics, reclaimable in CONTAINER_FILES:
        if (CONTAINER / limit).exists() and (CONTAINER / limit).read_text().strip().isdigit():
            cached = int(_words(CONTAINER / statistics)[reclaimable])
            found.append(int((CONTAINER / limit).read_text()) - int((CONTAINER / used).read_text()) + cached)
    return max(0, min(found, default=UNKNOWN_MEMORY))


def _words(path: Path) -> dict[str, str]:
    """Second word of every line, by its first"""
    return {words[0]: words[1] for words in (line.split() for line in path.read_text().splitlines())}


def _flat(pixels: Pixels) -> memoryview:
    return pixels.data.cast("B")


def _check(pixels: Pixels) -> bytes:
    """Never zero, which is what a hole in a file holds"""
    return (zlib.crc32(_flat(pixels)) + (1 << 32)).to_bytes(CHECK_BYTES, "little")
