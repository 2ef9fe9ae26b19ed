"""The dataset archive: one stored zip of PNGs and dataset.json in the official layout, equal inputs giving equal bytes.

Pictures of more than four channels, which no PNG holds, are .npy entries in the same places.
dataset.json has two keys beside the official "labels", which official readers ignore: "class_names" (list or null) and
"holdout" (entries never used in training), so that the zip alone is enough on another machine.
"""

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, TypeVar

import numpy as np

from stylegan.config.pyramid import sides
from stylegan.config.sections import PrepareConfig
from stylegan.data.arrays import ARRAY_SUFFIX, CHANNELS, Pixels, suffix_of
from stylegan.data.transforms import Check, check_image, convert_image
from stylegan.files import replacing, sha256_of

Label: TypeAlias = int | list[float] | None
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".jp2", ".avif"),
    ARRAY_SUFFIX,
)
INDEX = "dataset.json"


class ArchiveError(ValueError):
    """A source or an archive of images cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be used, by its path in the source."""

    source: str
    reason: str


@dataclass(frozen=True)
class Source:
    """Where pictures come from; everything is known up front except the pictures, which are read one at a time."""

    name: str
    names: Sequence[str]  # path of every picture, as the user knows it
    read: Callable[[int], bytes | Pixels]
    labels: Sequence[Label] | None = None  # beside names; None where a picture has no label
    class_names: Sequence[str] | None = None
    groups: Sequence[str] | None = None  # beside names: pictures that share content; None when each stands alone
    holdout: frozenset[str] | None = None  # names held out by a source that is split already
    bad: Sequence[BadFile] = ()  # found bad without opening a picture
    ignored: Sequence[str] = ()  # files that are not pictures by their names


@dataclass(frozen=True)
class Entry:
    """One picture of the archive and where it came from."""

    name: str
    source: str
    sha256: str  # of the source file, or of its raw pixels
    width: int
    height: int
    mode: str
    label: Label
    group: str
    split: str  # "train" | "holdout"


@dataclass(frozen=True)
class Plan:
    """What the archive will hold: decided after every file was checked, before any is converted."""

    mode: str  # "L" | "LA" | "RGB" | "RGBA" | "5-channel" and so on
    indices: Sequence[int]  # into the source, beside entries
    entries: Sequence[Entry]
    class_names: Sequence[str] | None
    bad: Sequence[BadFile]


A = TypeVar("A")
B = TypeVar("B")


def ordered_map(function: Callable[[A], B], items: Iterable[A], workers: int) -> Iterator[B]:
    """Results in the order of the items, computed by threads (Pillow decodes, resizes and encodes without the GIL).

    Memory does not grow with the number of items: few are ever under way.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        pending: list[Future[B]] = [pool.submit(function, item) for item in islice(iterator, 4 * workers)]
        while pending:
            yield pending.pop(0).result()
            pending += [pool.submit(function, item) for item in islice(iterator, 1)]


def check_all(source: Source, config: PrepareConfig, workers: int) -> Iterator[Check]:
    """Open every picture of the source and report on each, in order."""

    def check(index: int) -> Check:
        try:
            return check_image(source.read(index), config)
        except (OSError, zipfile.BadZipFile) as error:
            return Check(reason=f"cannot be read ({error}); replace or remove it")

    return ordered_map(check, range(len(source.names)), workers)


def convert_all(source: Source, plan: Plan, config: PrepareConfig, workers: int) -> Iterator[bytes]:
    """File (PNG or .npy) of every picture of the plan, in order.

    Raises ArchiveError that names a file which changed since it was checked.
    """

    def convert(index: int) -> bytes:
        try:
            return convert_image(source.read(index), config, plan.mode)
        except (OSError, ValueError, SyntaxError, zipfile.BadZipFile) as error:
            text = f"passed the check but cannot be converted ({error}); it changed meanwhile. Prepare again."
            raise ArchiveError(f"{source.names[index]}: {text}") from error

    return ordered_map(convert, plan.indices, workers)


def plan_archive(source: Source, checks: Sequence[Check], config: PrepareConfig) -> Plan:
    """Leave out bad files, draw the subset, and split by group.

    Raises ArchiveError that lists every bad file when config.bad_files is "fail", or when no picture is left.
    """
    mode = _common_mode(checks) if config.mode == "keep" else config.mode
    reasons = [_problem(source, index, check, config, mode) for index, check in enumerate(checks)]
    found = [BadFile(name, reason) for name, reason in zip(source.names, reasons, strict=True) if reason]
    bad = sorted([*source.bad, *found], key=lambda file: file.source)
    good = [index for index, reason in enumerate(reasons) if not reason]
    total = len(source.names) + len(source.bad)
    if bad and (config.bad_files == "fail" or not good):
        advice = "Repair or remove them, or set prepare.bad_files to skip." if good else "No picture is left."
        raise ArchiveError(f"{source.name}: {list_bad(bad, total)}\n{advice}")
    if config.max_images is not None and config.max_images < len(good):
        drawn = np.random.default_rng(config.seed).permutation(len(good))[: config.max_images]
        good = [good[position] for position in sorted(drawn)]
    return Plan(mode, good, _entries(source, checks, good, config, suffix_of(mode)), source.class_names, bad)


def list_bad(bad: Sequence[BadFile], total: int) -> str:
    """Table of every bad file and its reason, for people."""
    width = max(len(file.source) for file in bad)
    rows = [f"  {file.source:<{width}}  {file.reason}" for file in bad]
    return "\n".join([f"{len(bad)} of {total} files cannot be used:", *rows])


def choose_holdout(groups: Sequence[str], fraction: float, seed: int) -> set[str]:
    """Groups whose pictures together come nearest to a fraction of all, taken in the order of a hash of seed and name.

    The order of two groups does not depend on the others, so a set that grows keeps nearly all of its split.
    """
    sizes = Counter(groups)
    chosen: set[str] = set()
    missing = fraction * len(groups)
    for group in sorted(sizes, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest()):
        if abs(missing - sizes[group]) < missing:
            chosen.add(group)
            missing -= sizes[group]
    return chosen


def write_archive(target: Path, plan: Plan, files: Iterable[bytes]) -> str:
    """Write the zip, whole, from a stream of files beside plan.entries, and return its sha256."""
    has_labels = any(entry.label is not None for entry in plan.entries)
    index = {
        "labels": [[entry.name, entry.label] for entry in plan.entries] if has_labels else None,
        "class_names": plan.class_names,
        "holdout": [entry.name for entry in plan.entries if entry.split == "holdout"],
    }
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for entry, file in zip(plan.entries, files, strict=True):
            archive.writestr(_zip_info(entry.name), file)
        archive.writestr(_zip_info(INDEX), json.dumps(index))
    return sha256_of(target)


def manifest(source: Source, plan: Plan, config: PrepareConfig, archive_sha256: str) -> dict[str, Any]:
    """Everything one may ask about the archive later: settings, counts, every picture, every bad file."""
    classes = Counter(entry.label for entry in plan.entries if isinstance(entry.label, int))
    high, wide = sides(config.resolution)
    return {
        "archive_sha256": archive_sha256,
        "prepare": config.model_dump(mode="json"),
        "mode": plan.mode,
        "num_images": len(plan.entries),
        "split": dict(sorted(Counter(entry.split for entry in plan.entries).items())),
        "num_enlarged": sum(entry.width < wide or entry.height < high for entry in plan.entries),
        "class_names": plan.class_names,
        "class_counts": {str(label): classes[label] for label in sorted(classes)},
        "label_vectors": None if (vectors := label_vectors(plan.entries)) is None else asdict(vectors),
        "images": [asdict(entry) for entry in plan.entries],
        "bad_files": [asdict(file) for file in plan.bad],
        "ignored_files": list(source.ignored),
    }


@dataclass(frozen=True)
class LabelVectors:
    """Of every element of the label vectors: in how many images it is not 0, its least, mean and greatest value."""

    num_images: list[int]
    min: list[float]
    mean: list[float]
    max: list[float]


def label_vectors(entries: Sequence[Entry]) -> LabelVectors | None:
    """What the label vectors hold; None where labels are none"""
    table = np.array([entry.label for entry in entries if isinstance(entry.label, list)], np.float64)
    if not table.size:
        return None
    low, mean, high = (
        values.round(6).tolist() for values in (table.min(axis=0), table.mean(axis=0), table.max(axis=0))
    )
    return LabelVectors(np.count_nonzero(table, axis=0).tolist(), low, mean, high)


def is_picture(path: str) -> bool:
    """Whether a file is meant to be a picture, by its name; hidden files and macOS leftovers in zips are not."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(path).parts)
    return not hidden and path.lower().endswith(IMAGE_SUFFIXES)


def _common_mode(checks: Sequence[Check]) -> str:
    modes = Counter(check.mode for check in checks if not check.reason)
    return max(modes, key=lambda mode: modes[mode], default="RGB")


def _problem(source: Source, index: int, check: Check, config: PrepareConfig, mode: str) -> str | None:
    if check.reason:
        return check.reason
    if config.mode == "keep" and check.mode != mode:
        is_convertible = {mode, check.mode} <= CHANNELS.keys()
        remedy = f"set prepare.mode to {mode}" if is_convertible else "leave it out"
        return f"is {check.mode}, most are {mode}, and prepare.mode keep needs one; {remedy}"
    if source.labels is not None and source.labels[index] is None:
        where = f"lies in no sub-folder of {source.name}" if config.labels == "folders" else f"has no label in {INDEX}"
        return f"{where}; give it a class, or set prepare.labels to none"
    return None


def _entries(
    source: Source, checks: Sequence[Check], good: Sequence[int], config: PrepareConfig, suffix: str
) -> list[Entry]:
    # Without groups the content is the group, so that copies of a picture never straddle the split.
    groups = [source.groups[index] if source.groups else checks[index].sha256 for index in good]
    if source.holdout is None:
        chosen = choose_holdout(groups, config.holdout_fraction, config.seed)
        held = [group in chosen for group in groups]
    else:
        held = [source.names[index] in source.holdout for index in good]
    return [
        Entry(
            name=f"{number // 1000:05d}/img{number:08d}{suffix}",
            source=source.names[index],
            sha256=checks[index].sha256,
            width=checks[index].width,
            height=checks[index].height,
            mode=checks[index].mode,
            label=source.labels[index] if source.labels is not None else None,
            group=groups[number],
            split="holdout" if held[number] else "train",
        )
        for number, index in enumerate(good)
    ]


def _zip_info(name: str) -> zipfile.ZipInfo:
    """Header without today's date, this system's name or its permissions"""
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = 0o644 << 16
    return info
