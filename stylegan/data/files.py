"""Files of a folder or a zip, listed before one is opened, with what is wrong with some and what was passed over."""

import os
import stat
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from numpy.typing import NDArray

from stylegan.data.decoders import read_whole, too_large
from stylegan.data.layout import INDEX, ArchiveError
from stylegan.data.limits import MAX_FILE_BYTES, MAX_INDEX_BYTES, MAX_INDEX_RATIO
from stylegan.data.problems import REPLACE, BadFile, Problem, ProblemError
from stylegan.data.zipped import ENCRYPTED, LOCAL, METHODS, Record, ZipReader
from stylegan.files import irregular_kind, open_regular

BLOCK_BYTES = 512  # of st_blocks
ONCE = Problem("links to a folder that is read already or that the source is in", "nothing is lost")
OVERLAPS = Problem("shares bytes of the zip with another entry", "zip the files again")
REPEATED = Problem("has the name of an entry before it", "rename one of them and zip the files again")

OF_SYSTEMS = ("lost+found", "__MACOSX", "System Volume Information", "$RECYCLE.BIN")  # folders that hold no images


@dataclass(frozen=True)
class Files:
    """Files below one root by their number, in the order of their names."""

    root: str  # to put before a name
    names: Sequence[str]
    read: Callable[[int], bytes]  # the content; these two raise ProblemError, OSError or BadZipFile
    open: Callable[[int], IO[bytes]]  # to look at the first bytes
    read_index: Callable[[int], bytes]  # the content of a dataset.json, which is bounded otherwise
    bad: Sequence[BadFile] = ()  # folders that cannot be read
    passed_over: Sequence[BadFile] = ()  # nothing is lost with them


@dataclass
class _Found:
    """What a walk through folders came by."""

    problems: dict[str, Problem | None] = field(default_factory=dict)  # of files by their names; None: none
    links: list[str] = field(default_factory=list)  # to folders
    bad: list[BadFile] = field(default_factory=list)
    passed_over: list[BadFile] = field(default_factory=list)


def list_folder(folder: Path) -> Files:
    """All files in a folder and below, also below linked folders; every folder once, so that no circle is followed"""
    found = _walk(folder)
    names = sorted(found.problems)

    def open_file(number: int) -> IO[bytes]:
        if problem := found.problems[names[number]]:
            raise ProblemError(problem)
        return open_regular(folder / names[number])

    def read(number: int) -> bytes:
        with open_file(number) as file:
            return read_whole(file)

    def read_index(number: int) -> bytes:
        with open_file(number) as file:
            taken = os.fstat(file.fileno()).st_blocks * BLOCK_BYTES
            return read_whole(file, max(MAX_INDEX_BYTES, MAX_INDEX_RATIO * taken))

    return Files(f"{folder}/", names, read, open_file, read_index, found.bad, found.passed_over)


def list_zip(path: Path) -> Files:
    """All files in a zip, in the order of their names. Raises zipfile.BadZipFile for a damaged directory."""
    archive = ZipReader(path)
    entries = [(name.decode(errors="backslashreplace"), place) for place, name in archive.entries()]
    entries = sorted(entry for entry in entries if not entry[0].endswith("/"))
    names, places = [name for name, _ in entries], np.array([place for _, place in entries], np.int64)
    problems = _find_zip_problems(archive, names, places)
    repeated = sum(names[number] == INDEX for number in problems if problems[number] is REPEATED)
    if repeated:
        raise ArchiveError(f"{path}: two entries are named {INDEX}. Keep one of them and zip the files again.")

    def record(number: int) -> Record:
        if problem := problems.get(number):
            raise ProblemError(problem)
        return archive.record(int(places[number]))

    return Files(
        f"{path}:",
        names,
        read=lambda number: archive.read(record(number)),
        open=lambda number: archive.open(record(number)),
        read_index=lambda number: archive.read_index(int(places[number])),
    )


def _walk(root: Path) -> _Found:
    """Real folders first and linked ones after them, so that a file has the name without a link if it has one"""
    found, pending, seen = _Found(), deque([""]), {_identity(root.stat()), *_find_ancestors(root)}
    while pending or found.links:
        name = pending.popleft() if pending else found.links.pop(0)
        try:
            identity = _identity((root / name).stat())
            if name and identity in seen:
                found.passed_over.append(BadFile(f"{root}/{name}", ONCE))
                continue
            seen.add(identity)
            pending.extend(_scan(root, name, found))
        except OSError as error:
            problem = Problem("is a folder that cannot be read", "allow it, or remove it", str(error.strerror))
            own = PurePosixPath(name).name
            lost = found.passed_over if own.startswith(".") or own in OF_SYSTEMS else found.bad
            lost.append(BadFile(f"{root}/{name}", problem))
    return found


def _scan(root: Path, name: str, found: _Found) -> list[str]:
    """Note what a folder holds  -> its real folders"""
    folders = []
    with os.scandir(root / name) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            inside = f"{name}/{entry.name}" if name else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(inside)
            else:
                _note(found, entry, inside)
    return folders


def _note(found: _Found, entry: "os.DirEntry[str]", name: str) -> None:
    """A file, a link or something else in a folder"""
    try:
        mode = entry.stat().st_mode
    except OSError as error:
        kind = "is a link to nothing that can be reached" if entry.is_symlink() else "cannot be read"
        found.problems[name] = Problem(kind, REPLACE, str(error.strerror))
        return
    if stat.S_ISDIR(mode):
        found.links.append(name)
    else:
        kind = irregular_kind(mode)
        found.problems[name] = Problem(f"is {kind}, not a file", REPLACE) if kind else None


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def _find_ancestors(root: Path) -> Iterator[tuple[int, int]]:
    """A link to one of them would lead through half of the disk and back"""
    for parent in root.resolve().parents:
        with suppress(OSError):
            yield _identity(parent.stat())


def _find_zip_problems(archive: ZipReader, names: Sequence[str], places: NDArray[np.int64]) -> dict[int, Problem]:
    """What the directory alone says against entries, by their numbers"""
    problems: dict[int, Problem] = {}
    starts, ends = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    for number, place in enumerate(places.tolist()):
        try:
            record = archive.record(place)
        except zipfile.BadZipFile as error:
            problems[number] = Problem("cannot be read", REPLACE, str(error))
            continue
        starts[number] = min(record.header, 2**62)
        ends[number] = min(record.header + LOCAL.size + record.packed, 2**62)
        if number + 1 < len(names) and names[number] == names[number + 1]:  # the last one counts, as for every unzip
            problems[number] = REPEATED
        elif problem := _problem_of(record, names[number]):
            problems[number] = problem
    return {number: OVERLAPS for number in _overlapping(starts, ends)} | problems


def _problem_of(record: Record, name: str) -> Problem | None:
    if record.flags & ENCRYPTED:
        return Problem("is encrypted", "zip it again without a password")
    if record.method not in METHODS:
        return Problem("is compressed by a method that is not read", "zip it again with deflate", f"{record.method}")
    if record.unpacked > MAX_FILE_BYTES and Path(name).name != INDEX:
        return too_large()
    return None


def _overlapping(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Iterator[int]:
    """Numbers of entries that begin before one ends that began before them"""
    order = np.argsort(starts, kind="stable")
    reached = np.maximum.accumulate(ends[order])
    yield from order[1:][reached[:-1] > starts[order][1:]].tolist()
