"""Images and labels of an archive as tensors, and the order in which training draws them.

N batch, C channels, H W image.
"""

import hashlib
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylegan.config.modes import CHANNELS
from stylegan.config.pyramid import plain
from stylegan.data.arrays import ARRAY_SUFFIX, Pixels, decode_array, mode_of
from stylegan.data.decoders import open_image
from stylegan.data.index import Index, Names, read_index
from stylegan.data.labels import Labels
from stylegan.data.layout import ArchiveError
from stylegan.data.problems import ProblemError
from stylegan.data.zipped import Record, ZipReader
from stylegan.files import sha256_of

Split: TypeAlias = Literal["train", "holdout", "all"]
Indices: TypeAlias = Sequence[int] | NDArray[np.int64]


class ImageDataset:
    """One split of an archive. With xflip, index n + i is the mirror image of index i of n.

    It keeps no pixels, and of each image 12 bytes and its label. Any number of threads may read from it.
    """

    def __init__(self, path: Path, *, use_labels: bool, xflip: bool, split: Split, max_images: int | None) -> None:
        self.path = Path(path)
        self.xflip = xflip
        self._reader: ZipReader | None = None
        index = self._read_index(use_labels)
        # Of each image, its row among all images of the archive, and the place of its record in the zip.
        self.archive_rows = _subset(_of_split(self.path, index, split), index.names, max_images).astype(np.int32)
        self._places = index.places[self.archive_rows]
        self.num_in_archive = len(index.names)
        self.img_shape = self._shape_of(index.places[0])
        self.channels, self.resolution = self.img_shape[0], plain(self.img_shape[1:])
        self.class_names = index.class_names if use_labels else None
        table = None if index.labels is None else index.labels[self.archive_rows]
        self._labels = Labels(table, index.num_classes, torch.device("cpu"))
        self.c_dim = self._labels.c_dim

    def holdout(self) -> Self:
        """The images that the archive holds out, read as these are. Raises ArchiveError if there are none."""
        use_labels = self._labels.table is not None
        return type(self)(self.path, use_labels=use_labels, xflip=self.xflip, split="holdout", max_images=None)

    @property
    def num_images(self) -> int:
        """How many there are, mirror images not counted"""
        return len(self.archive_rows)

    def __len__(self) -> int:
        return self.num_images * (2 if self.xflip else 1)

    def __getitem__(self, index: int) -> Tensor:
        """uint8 [C, H, W]"""
        return self.batch([range(len(self))[index]])[0][0]

    def label(self, index: int) -> Tensor:
        """float32 [c_dim]: one-hot, or the vector itself; empty without labels"""
        return self.labels([index])[0]

    def labels(self, indices: Indices) -> Tensor:
        """float32 [N, c_dim]"""
        return self._labels(torch.from_numpy(np.asarray(indices, np.int64) % self.num_images))

    def labels_on(self, device: torch.device) -> Labels:
        """Labels of images, mirror images not counted, on a device"""
        return self._labels.to(device)

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor]:
        """img uint8 [N, C, H, W], c float32 [N, c_dim]. Raises as `read`."""
        numbers = np.asarray(indices, np.int64)
        img = np.empty((len(numbers), *self.img_shape), np.uint8)
        self.read(numbers % self.num_images, img)
        mirrored = numbers >= self.num_images
        img[mirrored] = img[mirrored, :, :, ::-1]
        return torch.from_numpy(img), self.labels(numbers)

    def read(self, rows: NDArray[np.int64], out: Pixels) -> None:
        """Decode images, not mirrored, into uint8 [N, C, H, W].

        Raises ArchiveError that names an entry which is damaged or unlike the others.
        """
        for row, pixels in zip(rows, out, strict=True):
            np.copyto(pixels, self._decode(self._places[row]))

    @cached_property
    def digest(self) -> str:
        """sha256 of the archive file"""
        return sha256_of(self.path)

    def digest_of_contents(self) -> str:
        """sha256 of names, sizes and CRC-32 of all entries: tells archives apart for a thousandth of the reading"""
        return self._zip().digest()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_reader": None}

    def _read_index(self, use_labels: bool) -> Index:
        if not self.path.exists():
            raise ArchiveError(f"{self.path}: dataset archive not found. Make it with `dvc repro prepare`.")
        try:
            return read_index(self.path, self._zip(), use_labels=use_labels)
        except (zipfile.BadZipFile, ValueError) as error:
            if isinstance(error, ArchiveError):
                raise
            raise ArchiveError(
                f"{self.path}: not a dataset archive ({error}). Make it with `dvc repro prepare`."
            ) from None

    def _zip(self) -> ZipReader:
        if self._reader is None:
            self._reader = ZipReader(self.path)
        return self._reader

    def _open(self, place: int) -> tuple[str, Pixels]:
        """Name, and uint8 [C, H, W]"""
        record: Record | None = None
        try:
            record = self._zip().record(place)
            data = self._zip().read(record)
            if record.name.endswith(ARRAY_SUFFIX):
                return record.name, decode_array(data).transpose(2, 0, 1)
            image = open_image(data)
            image.load()
        except (OSError, SyntaxError, ValueError, zipfile.BadZipFile, ProblemError) as error:
            name = record.name if record else f"entry at byte {place}"
            raise ArchiveError(
                f"{self.path}: {name}: cannot be decoded ({error}). Prepare the archive again."
            ) from None
        if image.mode not in CHANNELS:
            found = f"is {image.width} x {image.height} {image.mode}, expected one of {', '.join(CHANNELS)}"
            raise ArchiveError(f"{self.path}: {record.name}: {found}. Prepare the archive again.")
        return record.name, np.asarray(image).reshape(image.height, image.width, -1).transpose(2, 0, 1)

    def _shape_of(self, place: int) -> tuple[int, int, int]:
        channels, height, width = self._open(place)[1].shape
        return channels, height, width

    def _decode(self, place: int) -> Pixels:
        name, pixels = self._open(place)
        if pixels.shape != self.img_shape:
            found, expected = (f"{w} x {h} {mode_of(c)}" for c, h, w in (pixels.shape, self.img_shape))
            raise ArchiveError(
                f"{self.path}: {name}: is {found}, expected {expected} as the first image. Prepare the archive again."
            )
        return pixels


class InfiniteSampler:
    """Endless order of the numbers 0 .. n-1, each once per epoch: a pure function of seed and position.

    A resumed run draws what the uninterrupted run would have drawn, and no state need be saved.
    """

    def __init__(self, num_images: int, seed: int) -> None:
        if num_images < 1 or seed < 0:
            raise ValueError(
                f"sampler over {num_images} images with seed {seed}: needs an image and a seed of 0 or more"
            )
        self.num_images = num_images
        self.seed = seed
        self._epoch: tuple[int, NDArray[np.int64]] | None = None

    def take(self, position: int, count: int) -> NDArray[np.int64]:
        """The `count` numbers that follow `position`, the count of numbers drawn so far over all processes."""
        parts = [np.empty(0, np.int64)]
        while count > 0:
            epoch, start = divmod(position, self.num_images)
            parts.append(self._permutation(epoch)[start : start + count])
            position += len(parts[-1])
            count -= len(parts[-1])
        return np.concatenate(parts)

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, np.random.default_rng((self.seed, epoch)).permutation(self.num_images)
        return self._epoch[1]


def _of_split(path: Path, index: Index, split: Split) -> NDArray[np.int64]:
    rows = np.flatnonzero((index.is_held_out == (split == "holdout")) | (split == "all"))
    if not len(rows):
        raise ArchiveError(f"{path}: its {split} split is empty. Prepare it with another prepare.holdout_fraction.")
    return rows


def _subset(rows: NDArray[np.int64], names: Names, max_images: int | None) -> NDArray[np.int64]:
    """The same images for every run and seed, and smaller subsets within larger ones, so that runs compare"""
    if max_images is None or max_images >= len(rows):
        return rows
    digests = (hashlib.sha256(names[row]).digest() for row in rows)
    keys = np.fromiter((int.from_bytes(digest[:8], "big") for digest in digests), np.uint64, len(rows))
    return np.sort(rows[np.argsort(keys, kind="stable")[:max_images]])
