"""Readers of images: sources of every kind, the dataset archive, and images given to commands."""

import contextlib
import gzip
import io
import json
import pickle
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.hostile.arrays import odd_batch
from benchmarks.hostile.containers import part, write_zip
from benchmarks.hostile.reader import Files, Reader, damage_folder, damage_one
from pipelines.params import load
from pipelines.prepare import prepare
from stylegan.analysis.targets import list_files, load_targets
from stylegan.data import ArchiveError, ImageDataset, heif
from stylegan.data.arrays import encode_array
from stylegan.data.survey import survey
from stylegan.networks import Generator
from tests.conftest import REPOSITORY, TINY

NUM_IMAGES = 6
CIFAR, MNIST = "cifar-10-python.tar.gz", "train-images-idx3-ubyte.gz"


def pixels(number: int, *shape: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(number).integers(0, 256, shape, np.uint8)


def png(number: int, side: int = 16) -> bytes:
    """An image of random pixels"""
    Image.fromarray(pixels(number, side, side, 3)).save(buffer := io.BytesIO(), "png")
    return buffer.getvalue()


def images(num: int = NUM_IMAGES) -> dict[str, bytes]:
    """In two folders, which are their classes"""
    return {f"{'circle' if number % 2 else 'square'}/{number}.png": png(number) for number in range(num)}


def index(names: list[str], labels: list[Any]) -> bytes:
    """A dataset.json"""
    facts = {
        "labels": list(map(list, zip(names, labels, strict=True))),
        "class_names": ["square", "circle"],
        "holdout": names[-1:],
    }
    return json.dumps(facts).encode()


def zipped(files: Files) -> bytes:
    return write_zip([part(name, content) for name, content in files.items() if isinstance(content, bytes)])


def cifar(**others: bytes) -> bytes:
    """The official layout with two batches of three images, or others in their places"""
    members: dict[str, Any] = {"batches.meta": {"label_names": ["square", "circle"]}}
    for number in (1, 2):
        members[f"data_batch_{number}"] = {"data": pixels(number, 3, 3072), "labels": [0, 1, 0]}
    with tarfile.open(fileobj=(made := io.BytesIO()), mode="w") as tar:
        for name, value in members.items():
            content = others.get(name, pickle.dumps(value, protocol=3))
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(made.getvalue(), mtime=0)


def damage_cifar(files: Files, rng: random.Random) -> Files:
    """As another file, or with arrays that no writer makes"""
    return {CIFAR: cifar(data_batch_2=odd_batch(rng))} if rng.random() < 0.25 else damage_one(files, rng)


def photos(suffix: str) -> dict[str, bytes]:
    """Photos of phones; they have previews, colour profiles and notes"""
    found = {}
    for number in range(NUM_IMAGES):
        image = Image.fromarray(pixels(number, 64, 64, 3).repeat(2, 0)[:64])
        exif = Image.Exif()
        exif[0x0112] = 1 + number
        image.save(buffer := io.BytesIO(), suffix, exif=exif, quality=30)
        found[f"{number}.{suffix}"] = buffer.getvalue()
    return found


def mnist() -> dict[str, bytes]:
    """Images and labels of ten digits"""
    head = b"\0\0\x08\3" + np.array([NUM_IMAGES, 28, 28], ">u4").tobytes()
    labels = b"\0\0\x08\1" + np.array([NUM_IMAGES], ">u4").tobytes() + bytes(range(NUM_IMAGES))
    content = head + pixels(0, NUM_IMAGES, 28, 28).tobytes()
    return {
        MNIST: gzip.compress(content, mtime=0),
        "train-labels-idx1-ubyte.gz": gzip.compress(labels, mtime=0),
    }


def look_at(dataset: ImageDataset) -> None:
    """Take every image and every label, and the images held out"""
    for number in range(len(dataset)):
        dataset[number]
        assert bool(dataset.label(number).isfinite().all()), "a label that is not finite"
    with contextlib.suppress(ArchiveError):
        held_out = dataset.holdout()
        held_out.batch(range(len(held_out)))


def source_reader(name: str, source: str, files: Files, *overrides: str) -> Reader:
    """The whole of stage prepare on a source, and what `plan` looks at of it"""
    tiny = [
        *TINY,
        "prepare.max_bad_share=0.6",
        "prepare.holdout_fraction=0.3",
        "prepare.transform=center-crop",
        *overrides,
    ]
    config = load(REPOSITORY / "params.yaml", tiny).prepare

    def read(folder: Path) -> ImageDataset:
        given = config.model_copy(update={"source": str(folder / source)})
        survey(given, folder / "none.jpg")
        archive = folder.parent / "out" / "archive.zip"
        prepare(given, archive, archive.with_name("manifest.json"), folder / "none.jpg", workers=1)
        return ImageDataset(archive, use_labels=config.labels != "none", xflip=True, split="train", max_images=None)

    damage = {"images": damage_folder, CIFAR: damage_cifar}.get(source)
    return Reader(name, "image sources", files, read, look_at, damage)


def archive_reader(name: str, labels: list[Any] | None) -> Reader:
    """The archive as training reads it"""
    names = [f"00000/img{number:08d}.png" for number in range(NUM_IMAGES)]
    files = {entry: png(number) for number, entry in enumerate(names)}
    content = zipped(files | {"dataset.json": index(names, labels or [None] * NUM_IMAGES)})
    with zipfile.ZipFile(io.BytesIO(content)) as whole:
        assert whole.testzip() is None

    def read(folder: Path) -> ImageDataset:
        return ImageDataset(
            folder / "archive.zip", use_labels=labels is not None, xflip=True, split="train", max_images=None
        )

    return Reader(name, "dataset archive", {"archive.zip": content}, read, look_at, is_lazy=True)


def picture_reader(G: Generator) -> Reader:
    """Images given to project and detect"""

    def read(folder: Path) -> torch.Tensor:
        targets, _ = load_targets(list_files([folder / "images"])[0], G)
        return torch.stack([target.img for target in targets])

    files = {"images/a.png": png(0), "images/b.png": png(1, 20)}
    return Reader(
        "pictures for project and detect", "image sources", files, read, lambda img: img.float().mean(), damage_folder
    )


def image_readers(G: Generator) -> list[Reader]:
    """All of them; G is a generator of 16 x 16 RGB"""
    below = images()
    names, flat = sorted(below), [number % 2 for number in range(NUM_IMAGES)]
    vectors = [[float(number), 0.5] for number in range(NUM_IMAGES)]
    arrays = {f"{number}.npy": encode_array(pixels(number, 16, 16, 5)) for number in range(NUM_IMAGES)}
    inside: Callable[[Files], Files] = lambda files: {f"images/{name}": content for name, content in files.items()}  # noqa: E731
    with_index = below | {"dataset.json": index(names, flat)}
    with_vectors = below | {"dataset.json": index(names, vectors)}
    return [
        source_reader("folder", "images", inside(below), "prepare.labels=folders"),
        source_reader("folder with dataset.json", "images", inside(with_index), "prepare.labels=file"),
        source_reader("folder with label vectors", "images", inside(with_vectors), "prepare.labels=file"),
        source_reader("folder of arrays", "images", inside(arrays), "prepare.mode=keep"),
        source_reader("zip", "images.zip", {"images.zip": zipped(below)}, "prepare.labels=folders"),
        source_reader("zip with dataset.json", "images.zip", {"images.zip": zipped(with_index)}, "prepare.labels=file"),
        source_reader("folder of AVIF", "images", inside(photos("avif"))),
        *([source_reader("folder of HEIF", "images", inside(photos("heif")))] if heif.can_read() else []),
        source_reader("CIFAR-10", CIFAR, {CIFAR: cifar()}, "prepare.labels=file"),
        source_reader("MNIST", MNIST, mnist(), "prepare.labels=file"),
        archive_reader("archive", None),
        archive_reader("archive with classes", flat),
        archive_reader("archive with label vectors", vectors),
        picture_reader(G),
    ]
