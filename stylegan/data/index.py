"""What an archive says about itself, in arrays: a set of ten million images must not need a Python object for each.

n images, in the order of their names.
"""

import json
import re
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from stylegan.data.layout import IMAGE_SUFFIXES, INDEX, ArchiveError
from stylegan.data.zipped import ZipReader

Names: TypeAlias = NDArray[np.bytes_]  # in UTF-8, whose bytes sort as its characters do

SUFFIXES = tuple(suffix.encode() for suffix in IMAGE_SUFFIXES)
PIECE = 2**16  # entries that are Python objects at a time
SPACE = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()

T = TypeVar("T")


@dataclass(frozen=True)
class Index:
    """Images, labels and split of an archive, ours or any official one."""

    names: Names
    places: NDArray[np.int64]  # of each image's record in the directory of the zip
    is_held_out: NDArray[np.bool_]
    labels: NDArray[Any] | None  # int32 [n] or float32 [n, c_dim]
    num_classes: int  # of numbers as labels, held-out images and class names included
    class_names: list[str] | None


def read_index(path: Path, archive: ZipReader, *, use_labels: bool) -> Index:
    """Read the directory of an archive and its dataset.json.

    Raises ArchiveError when it holds no images, or, with use_labels, not one label for each.
    """
    names, places, facts_at = _images(archive)
    if not len(names):
        raise ArchiveError(f"{path}: holds no images. Make an archive with `dvc repro prepare`.")
    is_held_out, class_names = np.zeros(len(names), np.bool_), None
    table = _Labels(names) if use_labels else None
    for key, value in _members(archive, facts_at):
        if key == "labels" and value is not None:
            for pairs in _pieces(value.items() if isinstance(value, dict) else value):
                if table is not None:
                    table.add(pairs)
        elif key == "holdout" and value is not None:
            for held in _pieces(value):
                rows, is_there = _find(names, held)
                is_held_out[rows[is_there]] = True
        elif key == "class_names":
            class_names = None if value is None else list(value)
    if table is None:
        return Index(names, places, is_held_out, None, 0, class_names)
    labels, num_classes = table.checked(path)
    return Index(names, places, is_held_out, labels, max(num_classes, len(class_names or ())), class_names)


def _images(archive: ZipReader) -> tuple[Names, NDArray[np.int64], int | None]:
    """Names of images in order, the places of their records, and that of dataset.json"""
    found, names, facts_at = array("q"), [np.empty(0, "S1")], None

    def images() -> Iterator[bytes]:
        nonlocal facts_at
        for place, name in archive.entries():
            if name.lower().endswith(SUFFIXES):
                found.append(place)
                yield name
            elif name == INDEX.encode():
                if facts_at is not None:
                    raise ValueError(f"two entries are named {INDEX}")
                facts_at = place

    names += [np.array(piece) for piece in _pieces(images())]
    all_names, places = np.concatenate(names), np.frombuffer(found, np.int64)
    if not (all_names[:-1] <= all_names[1:]).all():  # an archive of `prepare` is in order
        order = np.argsort(all_names, kind="stable")
        all_names, places = all_names[order], places[order]
    if len(repeated := np.flatnonzero(all_names[:-1] == all_names[1:])):
        first = all_names[repeated[0]].decode(errors="backslashreplace")
        raise ValueError(f"{len(repeated):,} entries have the name of another, such as {first}")
    return all_names, places, facts_at


def _members(archive: ZipReader, place: int | None) -> Iterator[tuple[str, Any]]:
    """Members of the object in dataset.json; the value of a list is an iterator, valid until the next member

    Raises ValueError.
    """
    text = "{}" if place is None else archive.read_index(place).decode()
    at = _after(text, "{", 0)
    at, is_last = (at, False) if text[at : at + 1] != "}" else (at + 1, True)
    while not is_last:
        key, at = DECODER.raw_decode(text, at)
        at = _after(text, ":", at)
        if text[at : at + 1] == "[":
            elements = _Elements(text, at)
            values = iter(elements)
            yield key, values
            deque(values, maxlen=0)  # what nobody asked for
            at = elements.at
        else:
            value, at = DECODER.raw_decode(text, at)
            yield key, value
        at, is_last = _separated(text, at, "}")


class _Elements:
    """Elements of the list that begins at a place of a text; then `at` is the place after it."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at = text, _after(text, "[", at)

    def __iter__(self) -> Iterator[Any]:
        is_last = self.text[self.at : self.at + 1] == "]"
        if is_last:
            self.at += 1
        while not is_last:
            value, self.at = DECODER.raw_decode(self.text, self.at)
            self.at, is_last = _separated(self.text, self.at, "]")
            yield value


def _separated(text: str, at: int, close: str) -> tuple[int, bool]:
    """The place behind a comma or the closing bracket, and which of both it was"""
    at = _blank(text, at)
    if text[at : at + 1] == close:
        return at + 1, True
    return _after(text, ",", at), False


def _after(text: str, mark: str, at: int) -> int:
    at = _blank(text, at)
    if text[at : at + 1] != mark:
        raise json.JSONDecodeError(f"Expecting '{mark}'", text, at)
    return _blank(text, at + 1)


def _blank(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    return match.end() if match else at


def _pieces(values: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(values)
    while piece := list(islice(iterator, PIECE)):
        yield piece


def _find(names: Names, wanted: list[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows of names, and which of them are there"""
    encoded = np.array([name.encode() for name in wanted])
    fits = np.strings.str_len(encoded) <= names.itemsize
    encoded = encoded.astype(names.dtype)  # a search among another type would copy all names
    rows = np.minimum(np.searchsorted(names, encoded), len(names) - 1)
    return rows, fits & (names[rows] == encoded)


class _Labels:
    """Labels by the names of their images, collected in pieces."""

    def __init__(self, names: Names) -> None:
        self.names, self.is_there = names, np.zeros(len(names), np.bool_)
        self.table: NDArray[Any] | None = None
        self.num_classes = 0

    def add(self, pairs: list[Any]) -> None:
        pairs = [(name, value) for name, value in pairs if value is not None]
        if not pairs:
            return
        values = np.array([value for _, value in pairs])  # raises ValueError when numbers and vectors are mixed
        is_number, is_vector = values.ndim == 1 and values.dtype.kind == "i", values.ndim == 2
        if not (is_number or (is_vector and values.dtype.kind in "if")) or (is_number and values.min() < 0):
            raise ValueError(f"label {pairs[0][1]!r}, expected numbers of classes, or a list of numbers for each image")
        if self.table is None:
            dtype = np.int32 if values.ndim == 1 else np.float32
            self.table = np.zeros((len(self.names), *values.shape[1:]), dtype)
        if values.shape[1:] != self.table.shape[1:]:
            raise ValueError(f"label {pairs[0][1]!r} is unlike those before it")
        if values.ndim == 1:
            self.num_classes = max(self.num_classes, int(values.max()) + 1)
        rows, is_known = _find(self.names, [name for name, _ in pairs])
        self.table[rows[is_known]] = values[is_known]  # of a name that comes twice the last one counts
        self.is_there[rows[is_known]] = True

    def checked(self, path: Path) -> tuple[NDArray[Any], int]:
        """The table, and how many classes it knows; 0 for vectors"""
        if self.table is None:
            raise ArchiveError(
                f"{path}: holds no labels. Set data.use_labels to false, or prepare it with prepare.labels folders or "
                "file."
            )
        if not self.is_there.all():
            missing = self.names[int(np.argmin(self.is_there))].decode()
            raise ArchiveError(f"{path}: {missing} has no label. Prepare the archive again.")
        return self.table, self.num_classes
