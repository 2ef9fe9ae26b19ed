"""What an archive says about itself, in arrays: a set of ten million images must not need a Python object for each.

n images, in the order of their names.
"""

import unicodedata
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stylegan.data.annotations import (
    MAX_CLASSES,
    AnnotationError,
    LabelModel,
    check_holdout,
    name_key,
    pieces,
    read_annotations,
)
from stylegan.data.layout import IMAGE_SUFFIXES, INDEX, ArchiveError
from stylegan.data.zipped import ZipReader

Names: TypeAlias = NDArray[np.bytes_]  # in UTF-8, whose bytes sort as its characters do

MAX_NAME = 1024  # bytes, which every name takes if one is as long
SUFFIXES = tuple(suffix.encode() for suffix in IMAGE_SUFFIXES)


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

    Raises ArchiveError if it holds no images, or, with use_labels, not one label for each.
    """
    names, places, facts_at = _images(archive)
    if not len(names):
        raise ArchiveError(f"{path}: holds no images. Make an archive with `dvc repro prepare`.")
    is_held_out, table = np.zeros(len(names), np.bool_), _Labels(names)

    def hold_out(held: list[Any]) -> None:
        rows, is_there = _find(names, check_holdout(held))
        is_held_out[rows[is_there]] = True

    facts = b"{}" if facts_at is None else archive.read_index(facts_at)
    given, _ = read_annotations(facts, table.add if use_labels else len, hold_out)
    class_names = table.model.check_class_names(given)
    if not use_labels:
        return Index(names, places, is_held_out, None, 0, class_names)
    labels = table.checked(path)
    return Index(names, places, is_held_out, labels, max(table.model.largest + 1, len(class_names or ())), class_names)


def _images(archive: ZipReader) -> tuple[Names, NDArray[np.int64], int | None]:
    """Names of images in order, the places of their records, and that of dataset.json"""
    found, names, facts_at = array("q"), [np.empty(0, "S1")], None

    def images() -> Iterator[bytes]:
        nonlocal facts_at
        for place, name in archive.entries():
            if name.lower().endswith(SUFFIXES):
                if len(name) > MAX_NAME:
                    raise ValueError(f"the name of an entry has {len(name):,} bytes, expected at most {MAX_NAME:,}")
                found.append(place)
                yield name
            elif name == INDEX.encode():
                if facts_at is not None:
                    raise ValueError(f"two entries are named {INDEX}")
                facts_at = place

    names += [np.array(piece) for piece in pieces(images())]
    all_names, places = np.concatenate(names), np.frombuffer(found, np.int64)
    if not (all_names[:-1] <= all_names[1:]).all():  # an archive of `prepare` is in order
        order = np.argsort(all_names, kind="stable")
        all_names, places = all_names[order], places[order]
    if len(repeated := np.flatnonzero(all_names[:-1] == all_names[1:])):
        first = all_names[repeated[0]].decode(errors="backslashreplace")
        raise ValueError(f"{len(repeated):,} entries have the name of another, such as {first}")
    return all_names, places, facts_at


def _find(names: Names, wanted: list[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Rows of names, and which of them are there, also under another spelling of the same path"""
    rows, is_there = _find_exactly(names, wanted)
    for spell in (name_key, lambda name: unicodedata.normalize("NFD", name_key(name))):
        if is_there.all():
            break
        others = np.flatnonzero(~is_there)
        rows[others], is_there[others] = _find_exactly(names, [spell(wanted[other]) for other in others])
    return rows, is_there


def _find_exactly(names: Names, wanted: list[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    names_wanted = [name.encode(errors="surrogatepass") for name in wanted]
    fits = np.array([len(name) <= names.itemsize for name in names_wanted], np.bool_)
    # One long name would make all as long, and a search among another type would copy all names.
    encoded = np.array([name if fit else b"" for name, fit in zip(names_wanted, fits, strict=True)], names.dtype)
    rows = np.minimum(np.searchsorted(names, encoded), len(names) - 1)
    return rows, fits & (names[rows] == encoded)


class _Labels:
    """Labels by the names of their images, collected in pieces."""

    def __init__(self, names: Names) -> None:
        self.names, self.is_there = names, np.zeros(len(names), np.bool_)
        self.model = LabelModel()
        self.table: NDArray[Any] | None = None

    def add(self, pairs: list[Any]) -> None:
        """Raises AnnotationError."""
        wanted, values = self.model.check(pairs)
        if self.model.largest >= MAX_CLASSES:
            raise AnnotationError(f"class {self.model.largest:,}. Expected at most {MAX_CLASSES:,} classes")
        if not wanted:
            return
        if self.table is None:
            self.table = np.zeros((len(self.names), *values.shape[1:]), np.int32 if values.ndim == 1 else np.float32)
        rows, is_known = _find(self.names, wanted)
        self.table[rows[is_known]] = values[is_known]  # of a name that comes twice the last one counts
        self.is_there[rows[is_known]] = True

    def checked(self, path: Path) -> NDArray[Any]:
        """The table. Raises ArchiveError unless each image has its row."""
        if self.table is None:
            raise ArchiveError(
                f"{path}: holds no labels. Set data.use_labels to false, or prepare it with prepare.labels folders or "
                "file."
            )
        if not self.is_there.all():
            missing = self.names[int(np.argmin(self.is_there))].decode(errors="backslashreplace")
            raise ArchiveError(f"{path}: {missing} has no label. Prepare the archive again.")
        return self.table
