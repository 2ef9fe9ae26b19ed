"""Opens what prepare.source names: files in a folder or zip, CIFAR-10, MNIST, or tiles of the built-in earth."""

import io
import re
import zipfile
from collections.abc import Sequence
from os.path import commonpath, realpath
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from stylegan.config.pyramid import sides
from stylegan.config.sections import PrepareConfig
from stylegan.data.annotations import (
    MAX_CLASS_NAME,
    MAX_CLASSES,
    AnnotationError,
    Annotations,
    Label,
    match_names,
    name_key,
)
from stylegan.data.archive import UNREADABLE, Source, is_hidden, is_picture
from stylegan.data.arrays import Pixels
from stylegan.data.decoders import open_image
from stylegan.data.files import Files, list_folder, list_zip
from stylegan.data.layout import INDEX, ArchiveError
from stylegan.data.packed import read_idx, read_members
from stylegan.data.pickles import load_arrays
from stylegan.data.problems import BadFile, Problem, ProblemError
from stylegan.data.transforms import largest_window
from stylegan.files import irregular_kind
from stylegan.text import shorten, visible

CIFAR = "cifar-10-python.tar.gz"
CIFAR_FILES = re.compile(r"data_batch_.*|batches\.meta").fullmatch
MNIST_IMAGES, MNIST_LABELS = "-images-idx3-ubyte.gz", "-labels-idx1-ubyte.gz"
MOST_ABSENT, MOST_TEXTS = 100_000, 10  # texts in dataset.json: so many, and so many more for each image
KINDS = f"assets/earth (built in), a folder of images, a .zip, {CIFAR} or train{MNIST_IMAGES}"

ABSENT = Problem(f"is named in {INDEX} but absent", "add it, or remove its label")
CONTRADICTED = Problem(f"has two labels in {INDEX}", "remove the wrong one")
UNKNOWN_HOLDOUT = Problem(f"is held out by {INDEX} but absent", "add it, or remove its name")


def open_source(config: PrepareConfig, earth: Path) -> Source:
    """Find out what config.source is and open it; the folder of the world image `earth` means its tiles.

    Raises ArchiveError if nothing is there, it is of no known kind, or it has no labels of the kind asked for.
    """
    path = Path(config.source).expanduser()
    if realpath(path) == realpath(earth.parent):
        return earth_tiles(earth, config)
    if not path.exists():
        raise ArchiveError(f"{path}: not found. Set prepare.source to {KINDS}.")
    if path.is_dir():
        return image_files(list_folder(path), config)
    if kind := irregular_kind(path.stat().st_mode):
        raise ArchiveError(f"{path}: is {kind}, not a file. Set prepare.source to {KINDS}.")
    if path.suffix.lower() == ".zip":
        return _zip_files(path, config)
    if path.name.endswith(CIFAR):
        return cifar10(path, config)
    if path.name.endswith(MNIST_IMAGES):
        return mnist(path, config)
    raise ArchiveError(f"{path}: not a kind of source that is known. Set prepare.source to {KINDS}.")


def image_files(files: Files, config: PrepareConfig) -> Source:
    """Image files below one root, with classes from sub-folders or labels from dataset.json when asked for.

    Raises ArchiveError if there are no image files, or no labels where labels are asked for.
    """
    root, names = files.root, files.names
    places = [number for number, name in enumerate(names) if is_picture(name)]
    if not places:
        reason = f" Of a folder below: it {files.bad[0].problem.reason}." if files.bad else ""
        raise ArchiveError(f"{root}: holds no image files. Set prepare.source to {KINDS}.{reason}")
    pictures = [names[number] for number in places]
    index = min(
        (number for number, name in enumerate(names) if PurePosixPath(name).name == INDEX and not is_hidden(name)),
        key=lambda number: names[number].count("/"),
        default=None,
    )
    base = str(PurePosixPath(names[index]).parent / "_")[:-1] if index is not None else ""
    facts, unused = _annotations(files, index, len(pictures), config)
    labels, class_names, bad, contradicted = _labels_of_files(root, pictures, base, facts, config)

    def place(number: int) -> int:
        if pictures[number] in contradicted:
            raise ProblemError(CONTRADICTED)
        return places[number]

    find = match_names(pictures)
    held = None if facts.holdout is None else [find(base + name) for name in facts.holdout]
    unknown = sorted({*(held or ())} - set(pictures))
    return Source(
        name=root.rstrip("/:"),
        names=[root + name for name in pictures],
        read=lambda number: files.read(place(number)),
        open=lambda number: files.open(place(number)),
        labels=labels,
        class_names=class_names,
        holdout=frozenset(root + name for name in held) if held is not None else None,
        bad=[*files.bad, *bad],
        ignored=[root + name for number, name in enumerate(names) if not is_picture(name) and number != index],
        passed_over=[*files.passed_over, *unused, *(BadFile(root + name, UNKNOWN_HOLDOUT) for name in unknown)],
        note=facts.note if config.labels == "file" else "",
    )


def _annotations(
    files: Files, index: int | None, num_pictures: int, config: PrepareConfig
) -> tuple[Annotations, list[BadFile]]:
    """What dataset.json says, and the file itself if it is of another kind; that matters only if labels are asked of it

    Raises ArchiveError.
    """
    if index is None:
        return Annotations(), []
    name = files.names[index]
    try:
        return _read_index(files.root, name, _read_facts(files, index, num_pictures)), []
    except ArchiveError as error:
        if config.labels == "file":
            raise
        reason = str(error).removeprefix(f"{files.root}{name}: ").rstrip(".")
        return Annotations(), [BadFile(files.root + name, Problem("is not used", "correct it", reason))]


def _read_facts(files: Files, index: int, num_pictures: int) -> bytes:
    place = f"{files.root}{files.names[index]}"
    try:
        data = files.read_index(index)
    except UNREADABLE as error:
        raise ArchiveError(f"{place}: cannot be read ({error}). Write it again.") from None
    num_texts = data.count(b'"') // 2  # every name is one; to read each takes a second for some hundred thousand
    if num_texts > MOST_ABSENT + MOST_TEXTS * num_pictures:
        raise ArchiveError(f"{place}: has {num_texts:,} names for {num_pictures:,} images. Write it for these images.")
    return data


def cifar10(path: Path, config: PrepareConfig) -> Source:
    """The 50,000 training images of CIFAR-10 (Krizhevsky 2009), 32 x 32 RGB, ten classes"""
    meta, found = None, {}
    try:
        for name, data in read_members(path, CIFAR_FILES):
            content = load_arrays(io.BytesIO(data), f"{path}:{name}")
            if name == "batches.meta":
                meta = content
            else:  # at once: a pickle can hold far more than its images
                found[name] = _read_batch(content, f"{path}:{name}")
    except ValueError as error:
        raise ArchiveError(str(error)) from None
    if not found:
        raise ArchiveError(f"{path}: holds no data_batch_* files. Use the original {CIFAR}.")
    batches = dict(sorted(found.items()))
    images = np.concatenate([data for data, _ in batches.values()]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    names = [f"{path}:{stem}/{number:05d}" for stem, (data, _) in batches.items() for number in range(len(data))]
    labels = [label for _, labels in batches.values() for label in labels]
    class_names = meta.get("label_names") if isinstance(meta, dict) else None
    return _pixels(path, names, images, labels, class_names, config)


def _read_batch(batch: Any, name: str) -> tuple[Pixels, list[Any]]:
    """Pixels [n, 3072] and labels of a batch of CIFAR-10. Raises ArchiveError for others."""
    data, labels = (batch.get("data"), batch.get("labels")) if isinstance(batch, dict) else (None, None)
    is_pixels = isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2
    if not isinstance(data, np.ndarray) or not is_pixels or data.shape[1] != 3 * 32 * 32:
        raise ArchiveError(f"{name}: holds no images of 3 x 32 x 32 bytes. Use the original {CIFAR}.")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise ArchiveError(f"{name}: holds no list of a label for each of its images. Use the original {CIFAR}.")
    if any(isinstance(label, list | tuple | dict | set | frozenset | np.ndarray) for label in labels):
        raise ArchiveError(f"{name}: holds labels that are no class numbers. Use the original {CIFAR}.")
    return np.asarray(data), labels


def mnist(path: Path, config: PrepareConfig) -> Source:
    """Images of an MNIST file (LeCun 1998), padded from 28 x 28 to 32 x 32, and the label file next to it"""
    images = read_idx(path, dimensions=3)
    labels: list[int] = []
    if config.labels == "file":
        beside = path.with_name(path.name.replace(MNIST_IMAGES, MNIST_LABELS))
        if not beside.exists():
            raise ArchiveError(
                f"{beside}: labels not found. Put the file next to the images, or set prepare.labels to none."
            )
        labels = read_idx(beside, dimensions=1).tolist()
        if len(labels) != len(images):
            raise ArchiveError(f"{beside}: {len(labels)} labels for {len(images)} images. Use two files of one set.")
    names = [f"{path}:{number:05d}" for number in range(len(images))]
    digits = [str(digit) for digit in range(10)] if max(labels, default=0) < 10 else None  # of EMNIST: letters
    return _pixels(path, names, images, labels, digits, config, margin=2)


def earth_tiles(path: Path, config: PrepareConfig) -> Source:
    """Windows of the world image that are partly land and not monotonous, on a regular grid, shaped as the images.

    Each lies within one band of longitude, which is its group: windows overlap, but never across bands.
    """
    if not path.exists():
        raise ArchiveError(f"{path}: built-in images not found. Run `dvc repro assets`.")
    if config.labels != "none":
        raise ArchiveError("earth: the built-in images have no labels. Set prepare.labels to none.")
    longer = max(sides(config.resolution))
    if longer > 256:
        raise ArchiveError(f"earth: holds no detail for {longer} pixels. Set prepare.resolution to 256 or less.")
    world = np.asarray(open_image(path.read_bytes()).convert("RGB"))
    window = max(128, longer)
    corners = _earth_corners(world, window)
    band = 4 * _earth_band(world.shape[1] // 4, window // 4)
    return Source(
        name="earth",
        names=[f"earth:x{x:04d}y{y:04d}" for x, y in corners],
        read=lambda number: _cut(world, *corners[number], window, config),
        groups=[f"longitude {x // band * band * 360 // world.shape[1] - 180}" for x, _ in corners],
    )


def _earth_corners(world: Pixels, window: int) -> list[tuple[int, int]]:
    # Judged on an image a quarter the size: a window's look, not its grain, decides, and at any resolution alike.
    coarse = np.asarray(Image.fromarray(world).reduce(4)).astype(np.int16)
    height, width = coarse.shape[:2]
    side, stride, band = window // 4, 5, _earth_band(width, window // 4)
    # 70 degrees north to 58 degrees south: beyond, the projection stretches little but ice.
    rows = range(height * 20 // 180, height * 148 // 180 - side + 1, stride)
    columns = [x for start in range(0, width - band + 1, band) for x in range(start, start + band - side + 1, stride)]
    is_land = coarse[..., 2] <= coarse[..., :2].max(axis=2) + 4  # water is blue in this image
    luma = coarse.mean(axis=2)
    return [
        (4 * x, 4 * y)
        for y in rows
        for x in columns
        if is_land[y : y + side, x : x + side].mean() >= 0.4 and luma[y : y + side, x : x + side].std() > 16
    ]


def _earth_band(width: int, window: int) -> int:
    """Width of a band of longitude in coarse pixels: 20 degrees for windows of 32, in proportion for larger ones"""
    return width * 20 * window // (360 * 32)


def _cut(world: Pixels, x: int, y: int, window: int, config: PrepareConfig) -> Pixels:
    """The middle of a square window, in the shape of the images wanted"""
    height, width = sides(config.resolution)
    wide, high = largest_window(window, window, width, height)
    x, y = x + (window - wide) // 2, y + (window - high) // 2
    return np.ascontiguousarray(world[y : y + high, x : x + wide])


def _zip_files(path: Path, config: PrepareConfig) -> Source:
    try:
        files = list_zip(path)
    except zipfile.BadZipFile as error:
        raise ArchiveError(f"{path}: not a zip file ({error}). Copy or download it again.") from None
    return image_files(files, config)


def _labels_of_files(
    root: str, pictures: Sequence[str], base: str, facts: Annotations, config: PrepareConfig
) -> tuple[list[Label] | None, Sequence[str] | None, list[BadFile], set[str]]:
    """Labels next to the images, names of the classes, labels without a file, and files with two labels"""
    if config.labels == "none":
        return None, None, [], set()
    if config.labels == "folders":
        return *_labels_of_folders(root, pictures), [], set()
    if not facts.labels:
        raise ArchiveError(f"{root}: has no {INDEX} with labels. Add it, or set prepare.labels to folders or none.")
    find, labels, contradicted = match_names(pictures), dict[str, Label](), set[str]()
    for given, label in facts.labels:
        name = find(base + given)
        if labels.setdefault(name, label) != label:
            contradicted.add(name)
    absent = sorted(set(labels) - set(pictures))
    bad = [BadFile(root + name, ABSENT) for name in absent]
    return [labels.get(name) for name in pictures], facts.class_names, bad, contradicted


def _labels_of_folders(root: str, pictures: Sequence[str]) -> tuple[list[Label], list[str]]:
    parents = [str(PurePosixPath(name_key(name)).parent) for name in pictures]
    shared = len(PurePosixPath(commonpath(parents)).parts)  # a zip often wraps everything in one folder
    folders = [PurePosixPath(parent).parts[shared : shared + 1] for parent in parents]
    class_names = sorted({folder[0] for folder in folders if folder})
    if not class_names:
        raise ArchiveError(
            f"{root}: prepare.labels is folders, but all images are in one folder. Put each class in its own "
            "sub-folder, or set prepare.labels to none."
        )
    if len(class_names) > MAX_CLASSES:
        raise ArchiveError(
            f"{root}: has {len(class_names):,} sub-folders, expected at most {MAX_CLASSES:,} classes. Put several "
            "classes into one folder, or set prepare.labels to none."
        )
    numbers = {name: number for number, name in enumerate(class_names)}
    return [numbers[folder[0]] if folder else None for folder in folders], [
        shorten(visible(name), MAX_CLASS_NAME // 2) for name in class_names
    ]


def _read_index(root: str, name: str, data: bytes) -> Annotations:
    try:
        return Annotations.read(data)
    except AnnotationError as error:
        raise ArchiveError(f"{root}{name}: {error}.") from None


def _pixels(
    path: Path,
    names: list[str],
    images: Pixels,
    labels: list[Any],
    class_names: Any,
    config: PrepareConfig,
    margin: int = 0,
) -> Source:
    """Source of raw pixels uint8 [N, H, W] or [N, H, W, C], with so many black ones around each of [H, W]"""
    if config.labels == "folders":
        raise ArchiveError(f"{path}: has no folders. Set prepare.labels to file (its own classes) or none.")
    try:
        facts = Annotations.of_classes(names, labels, class_names) if config.labels == "file" else None
    except AnnotationError as error:
        raise ArchiveError(f"{path}: {error}. Use the original file, or set prepare.labels to none.") from None
    return Source(
        name=str(path),
        names=names,
        read=lambda number: np.ascontiguousarray(np.pad(images[number], margin) if margin else images[number]),
        labels=[label for _, label in facts.labels] if facts else None,
        class_names=facts.class_names if facts else None,
        note=facts.note if facts else "",
    )
