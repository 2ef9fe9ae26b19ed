"""The dataset archive: one stored zip of PNGs and dataset.json in the official layout, equal inputs giving equal bytes.

Images of more than four channels, which no PNG holds, are .npy entries in the same places.
dataset.json has two keys next to the official "labels", which official readers ignore: "class_names" (list or null) and
"holdout" (entries never used in training), so that the zip alone is enough on another machine.
"""

import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar

import numpy as np

from stylegan.config.modes import CHANNELS
from stylegan.config.pyramid import sides
from stylegan.config.sections import PrepareConfig
from stylegan.data.annotations import Label
from stylegan.data.arrays import Pixels, suffix_of
from stylegan.data.holdout import choose_holdout
from stylegan.data.layout import IMAGE_SUFFIXES, INDEX, ArchiveError
from stylegan.data.problems import REPLACE, BadFile, Problem, ProblemError, group
from stylegan.data.transforms import Check, check_image, convert_image
from stylegan.files import replacing, sha256_of
from stylegan.text import visible

UNREADABLE = (OSError, zipfile.BadZipFile, ProblemError)


@dataclass(frozen=True)
class Source:
    """Where images come from; everything is known up front except the images, which are read one at a time."""

    name: str
    names: Sequence[str]  # path of every image, as the user knows it
    read: Callable[[int], bytes | Pixels]
    open: Callable[[int], IO[bytes]] | None = None  # to look at the first bytes; None for raw pixels
    labels: Sequence[Label] | None = None  # beside names; None if an image has no label
    class_names: Sequence[str] | None = None
    groups: Sequence[str] | None = None  # beside names: images that share content; None if each stands alone
    holdout: frozenset[str] | None = None  # names held out by a source that is split already
    bad: Sequence[BadFile] = ()  # found bad without opening an image
    ignored: Sequence[str] = ()  # files that are not images by their names
    passed_over: Sequence[BadFile] = ()  # what is not used, though no image is lost with it
    note: str = ""  # on labels that are not as the source has them


@dataclass(frozen=True)
class Entry:
    """One image of the archive and where it came from."""

    name: str
    source: str  # its name with control characters, and bytes that are no UTF-8, escaped
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
    num_good: int  # files that could be used; entries are fewer if config.max_images draws from them


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


def unreadable(error: Exception) -> Check:
    """Report on an image whose file cannot be read."""
    if isinstance(error, ProblemError):
        return Check(problem=error.problem)
    return Check(problem=Problem("cannot be read", REPLACE, str(error)))


def check_all(source: Source, config: PrepareConfig, workers: int) -> Iterator[Check]:
    """Open every image of the source and report on each, in order."""

    def check(index: int) -> Check:
        try:
            return check_image(source.read(index), config)
        except UNREADABLE as error:
            return unreadable(error)

    return ordered_map(check, range(len(source.names)), workers)


def convert_all(source: Source, plan: Plan, config: PrepareConfig, workers: int) -> Iterator[bytes]:
    """File (PNG or .npy) of every image of the plan, in order.

    Raises ArchiveError that names a file which changed since it was checked.
    """

    def convert(index: int) -> bytes:
        try:
            return convert_image(source.read(index), config, plan.mode)
        except (*UNREADABLE, ValueError, SyntaxError) as error:
            text = f"passed the check but cannot be converted ({error}); it changed meanwhile. Prepare again."
            raise ArchiveError(f"{source.names[index]}: {text}") from error

    return ordered_map(convert, plan.indices, workers)


def plan_archive(source: Source, checks: Sequence[Check], config: PrepareConfig) -> Plan:
    """Leave out bad files, draw the subset, and split by group and class. `refuse_losses` judges what is left."""
    mode = _common_mode(checks) if config.mode == "keep" else config.mode
    problems = [_problem(source, index, check, config, mode) for index, check in enumerate(checks)]
    found = [BadFile(name, problem) for name, problem in zip(source.names, problems, strict=True) if problem]
    bad = sorted([*source.bad, *found], key=lambda file: file.source)
    good = [index for index, problem in enumerate(problems) if not problem]
    num_good = len(good)
    if config.max_images is not None and config.max_images < len(good):
        drawn = np.random.default_rng(config.seed).permutation(len(good))[: config.max_images]
        good = [good[position] for position in sorted(drawn)]
    entries = _entries(source, checks, good, config, suffix_of(mode))
    return Plan(mode, good, entries, source.class_names, bad, num_good)


def refuse_losses(source: Source, plan: Plan, config: PrepareConfig) -> None:
    """Raises ArchiveError if no image is left to train on, or more than config.max_bad_share cannot be used."""
    num_bad, total = len(plan.bad), plan.num_good + len(plan.bad)
    if plan.bad and (not plan.num_good or num_bad / total > config.max_bad_share):
        kind, remedy, files = group(plan.bad)[0]
        most = f"Most often ({len(files):,}) an image {kind}: {remedy}"
        if not plan.num_good:
            raise ArchiveError(f"{source.name}: none of {total:,} images can be used. {most}.")
        enough = -(-1000 * num_bad // total) / 1000  # rounded up, so that it lets these files pass
        raise ArchiveError(
            f"{source.name}: {num_bad:,} of {total:,} images ({num_bad / total:.1%}) cannot be used, above "
            f"prepare.max_bad_share = {config.max_bad_share:g}. {most}. To do without, set prepare.max_bad_share to "
            f"{enough:g}."
        )
    if all(entry.split == "holdout" for entry in plan.entries):
        raise ArchiveError(f"{source.name}: no image is left to train on. Lower prepare.holdout_fraction.")


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
    """Everything one may ask about the archive later: settings, counts, every image, every bad file."""
    classes = Counter(entry.label for entry in plan.entries if isinstance(entry.label, int))
    high, wide = sides(config.resolution)
    return {
        "archive_sha256": archive_sha256,
        "prepare": config.model_dump(mode="json"),
        "mode": plan.mode,
        "num_found": plan.num_good + len(plan.bad),
        "num_bad": len(plan.bad),
        "num_not_drawn": plan.num_good - len(plan.entries),
        "num_images": len(plan.entries),
        "split": dict(sorted(Counter(entry.split for entry in plan.entries).items())),
        "num_enlarged": sum(entry.width < wide or entry.height < high for entry in plan.entries),
        "class_names": plan.class_names,
        "class_counts": {str(label): classes[label] for label in sorted(classes)},
        "label_vectors": None if (vectors := label_vectors(plan.entries)) is None else asdict(vectors),
        "images": [asdict(entry) for entry in plan.entries],
        "bad_kinds": {f"{kind}; {remedy}": len(files) for kind, remedy, files in group(plan.bad)},
        "bad_files": [file.as_json() for file in plan.bad],
        "ignored_files": [visible(name) for name in source.ignored],
        "passed_over": [file.as_json() for file in source.passed_over],
    }


@dataclass(frozen=True)
class LabelVectors:
    """Of every element of the label vectors: in how many images it is not 0, its least, mean and greatest value."""

    num_images: list[int]
    min: list[float]
    mean: list[float]
    max: list[float]


def label_vectors(entries: Sequence[Entry]) -> LabelVectors | None:
    """What the label vectors hold; None if labels are none"""
    table = np.array([entry.label for entry in entries if isinstance(entry.label, list)], np.float64)
    if not table.size:
        return None
    low, mean, high = (
        values.round(6).tolist() for values in (table.min(axis=0), table.mean(axis=0), table.max(axis=0))
    )
    return LabelVectors(np.count_nonzero(table, axis=0).tolist(), low, mean, high)


def is_picture(path: str) -> bool:
    """Whether a file is meant to be an image, by its name; hidden files and macOS leftovers in zips are not."""
    return not is_hidden(path) and path.lower().endswith(IMAGE_SUFFIXES)


def is_hidden(path: str) -> bool:
    """Whether a file, or a folder that it is in, is hidden or a leftover of macOS"""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(path).parts)


def _common_mode(checks: Sequence[Check]) -> str:
    modes = Counter(check.mode for check in checks if not check.problem)
    return max(modes, key=lambda mode: modes[mode], default="RGB")


def _problem(source: Source, index: int, check: Check, config: PrepareConfig, mode: str) -> Problem | None:
    if check.problem:
        return check.problem
    if config.mode == "keep" and check.mode != mode:
        is_convertible = {mode, check.mode} <= CHANNELS.keys()
        remedy = f"set prepare.mode to {mode}" if is_convertible else "leave it out"
        return Problem(f"is {check.mode}, most are {mode}, and prepare.mode keep needs one", remedy)
    if source.labels is not None and source.labels[index] is None:
        where = f"is not in a sub-folder of {source.name}" if config.labels == "folders" else f"has no label in {INDEX}"
        return Problem(where, "give it a class, or set prepare.labels to none")
    return None


def _entries(
    source: Source, checks: Sequence[Check], good: Sequence[int], config: PrepareConfig, suffix: str
) -> list[Entry]:
    groups = [source.groups[index] for index in good] if source.groups else _group_by_pixels(checks, good)
    if source.holdout is None:
        chosen = choose_holdout(groups, config.holdout_fraction, config.seed, _classes(source, good))
        held = [group in chosen for group in groups]
    else:
        held = [source.names[index] in source.holdout for index in good]
    return [
        Entry(
            name=f"{number // 1000:05d}/img{number:08d}{suffix}",
            source=visible(source.names[index]),
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


def _group_by_pixels(checks: Sequence[Check], good: Sequence[int]) -> list[str]:
    """Group of each image, so that copies never straddle the split, whatever files they came in

    It is named by the least digest of their files, which is an image's own where it has no copy.
    """
    names: dict[bytes, str] = {}
    for index in good:
        digest = checks[index].sha256
        names[checks[index].pixels] = min(names.get(checks[index].pixels, digest), digest)
    return [names[checks[index].pixels] for index in good]


def _classes(source: Source, good: Sequence[int]) -> list[int] | None:
    """Class of every image that is used; None if images have no labels, or vectors"""
    labels = [source.labels[index] for index in good] if source.labels is not None else []
    classes = [label for label in labels if isinstance(label, int)]
    return classes if classes and len(classes) == len(labels) else None


def _zip_info(name: str) -> zipfile.ZipInfo:
    """Header without today's date, this system's name or its permissions"""
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    info.external_attr = 0o644 << 16
    return info
