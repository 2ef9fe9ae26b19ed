"""Pictures and labels of an archive as tensors, and the order in which training draws them.

N batch, C channels, H W image.
"""

import hashlib
import io
import os
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import one_hot

from stylegan.data.archive import ArchiveError, Index, read_index
from stylegan.data.arrays import ARRAY_SUFFIX, CHANNELS, Pixels, decode_array, mode_of
from stylegan.files import sha256_of
from stylegan.pyramid import plain

Split: TypeAlias = Literal["train", "holdout", "all"]
Indices: TypeAlias = Sequence[int] | NDArray[np.int64]

# Decoding a small picture costs more than the step that uses it, so sets up to this size stay decoded in memory.
CACHE_BYTES = 2**30


class ImageDataset:
    """One split of an archive. With xflip, index n + i is the mirror image of index i of n.

    Opens the zip when first asked for a picture, anew in every process that forked or unpickled it.
    """

    def __init__(self, path: Path, *, use_labels: bool, xflip: bool, split: Split, max_images: int | None) -> None:
        self.path = Path(path)
        self.xflip = xflip
        self._handle: tuple[int, zipfile.ZipFile] | None = None
        self._cache: tuple[Pixels, NDArray[np.bool_]] | None = None
        index = self._read_index()
        self._names = _subset(_of_split(self.path, index, split), max_images)
        self.img_shape = self._shape_of(index.names[0])
        self.channels, self.resolution = self.img_shape[0], plain(self.img_shape[1:])
        self.class_names = index.class_names if use_labels else None
        self.c_dim = 0
        self._labels: NDArray[Any] | None = None
        if use_labels:
            self._labels, self.c_dim = _label_table(self.path, index, self._names)

    def holdout(self) -> Self:
        """The images that the archive holds out, read as these are. Raises ArchiveError when there are none."""
        use_labels = self._labels is not None
        return type(self)(self.path, use_labels=use_labels, xflip=self.xflip, split="holdout", max_images=None)

    def __len__(self) -> int:
        return len(self._names) * (2 if self.xflip else 1)

    def __getitem__(self, index: int) -> Tensor:
        """uint8 [C, H, W]"""
        return self.batch([range(len(self))[index]])[0][0]

    def label(self, index: int) -> Tensor:
        """float32 [c_dim]: one-hot, or the vector itself; empty without labels"""
        return self.labels([index])[0]

    def labels(self, indices: Indices) -> Tensor:
        """float32 [N, c_dim]"""
        rows = np.asarray(indices, np.int64) % len(self._names)
        if self._labels is None:
            return torch.zeros(len(rows), 0)
        values = torch.from_numpy(self._labels[rows])
        return one_hot(values, self.c_dim).float() if values.ndim == 1 else values

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor]:
        """img uint8 [N, C, H, W], c float32 [N, c_dim].

        Raises ArchiveError that names an entry which is damaged or unlike the others.
        """
        numbers = np.asarray(indices, np.int64)
        img = self._pixels(numbers % len(self._names))
        mirrored = numbers >= len(self._names)
        img[mirrored] = img[mirrored, :, :, ::-1]
        return torch.from_numpy(img), self.labels(numbers)

    @cached_property
    def digest(self) -> str:
        """sha256 of the archive file"""
        return sha256_of(self.path)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_handle": None, "_cache": None}

    def _read_index(self) -> Index:
        if not self.path.exists():
            raise ArchiveError(f"{self.path}: no archive there. Make it with `dvc repro prepare`.")
        try:
            return read_index(self.path, self._zip())
        except (zipfile.BadZipFile, ValueError) as error:
            if isinstance(error, ArchiveError):
                raise
            raise ArchiveError(
                f"{self.path}: not a dataset archive ({error}). Make it with `dvc repro prepare`."
            ) from None

    def _zip(self) -> zipfile.ZipFile:
        # A handle inherited through fork shares its position with the parent's.
        if self._handle is None or self._handle[0] != os.getpid():
            self._handle = os.getpid(), zipfile.ZipFile(self.path)
        return self._handle[1]

    def _open(self, name: str) -> Pixels:
        """uint8 [C, H, W]"""
        try:
            data = self._zip().read(name)
            if name.endswith(ARRAY_SUFFIX):
                return decode_array(data).transpose(2, 0, 1)
            image = Image.open(io.BytesIO(data))
            image.load()
        except (OSError, SyntaxError, ValueError, zipfile.BadZipFile) as error:
            raise ArchiveError(
                f"{self.path}: {name}: cannot be decoded ({error}). Prepare the archive again."
            ) from None
        if image.mode not in CHANNELS:
            found = f"is {image.width} x {image.height} {image.mode}, expected one of {', '.join(CHANNELS)}"
            raise ArchiveError(f"{self.path}: {name}: {found}. Prepare the archive again.")
        return np.asarray(image).reshape(image.height, image.width, -1).transpose(2, 0, 1)

    def _shape_of(self, name: str) -> tuple[int, int, int]:
        channels, height, width = self._open(name).shape
        return channels, height, width

    def _pixels(self, rows: NDArray[np.int64]) -> Pixels:
        """uint8 [N, C, H, W], a fresh array"""
        if len(self._names) * int(np.prod(self.img_shape)) > CACHE_BYTES:
            return np.stack([self._decode(self._names[row]) for row in rows])
        if self._cache is None:
            self._cache = np.empty((len(self._names), *self.img_shape), np.uint8), np.zeros(len(self._names), np.bool_)
        pixels, is_decoded = self._cache
        for row in rows[~is_decoded[rows]]:
            pixels[row] = self._decode(self._names[row])
            is_decoded[row] = True
        return pixels[rows]

    def _decode(self, name: str) -> Pixels:
        pixels = self._open(name)
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


def _of_split(path: Path, index: Index, split: Split) -> list[str]:
    names = [name for name in index.names if split == "all" or (name in index.holdout) == (split == "holdout")]
    if not names:
        raise ArchiveError(f"{path}: its {split} split is empty. Prepare it with another prepare.holdout_fraction.")
    return names


def _subset(names: list[str], max_images: int | None) -> list[str]:
    """The same images for every run and seed, and smaller subsets within larger ones, so that runs compare"""
    if max_images is None or max_images >= len(names):
        return names
    order = sorted(range(len(names)), key=lambda number: hashlib.sha256(names[number].encode()).digest())
    return [names[number] for number in sorted(order[:max_images])]


def _label_table(path: Path, index: Index, names: list[str]) -> tuple[NDArray[Any], int]:
    """Class numbers int64 [n] or vectors float32 [n, c_dim], and c_dim, which is the same for every split"""
    if not index.labels:
        raise ArchiveError(
            f"{path}: holds no labels. Set data.use_labels to false, or prepare it with prepare.labels folders or file."
        )
    missing = [name for name in index.names if index.labels.get(name) is None]
    if missing:
        raise ArchiveError(f"{path}: {missing[0]} has no label. Prepare the archive again.")
    values = [index.labels[name] for name in names]
    if isinstance(values[0], list):
        table = np.asarray(values, np.float32)
        return table, table.shape[1]
    classes = max(int(label) for label in index.labels.values() if isinstance(label, int))
    return np.asarray(values, np.int64), max(classes + 1, len(index.class_names or ()))
