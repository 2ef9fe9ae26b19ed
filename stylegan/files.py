"""Files written whole, and their digests."""

import csv
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Temporary sibling to write to; it takes the place of `path` when the block succeeds and vanishes otherwise.

    A process killed half-way, or a full disk, leaves the old file, or none, but never half of the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with naming(path, temporary):
            yield temporary
            os.replace(temporary, path)
    finally:
        with suppress(OSError):  # of a folder that does not let write, whose own error is on its way
            temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Let an OSError that names no file, as those of a full disk do, or a temporary one, name this path."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise


def flush(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder: a machine that loses power then finds them again."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError) if path.is_dir() else nullcontext():  # some shared folders know no order of names
            os.fsync(handle)
    finally:
        os.close(handle)


def flush_folder(folder: Path) -> None:
    """Have the disk hold the files of a folder, and the folder in the one around it."""
    for path in (*sorted(file for file in folder.iterdir() if file.is_file()), folder, folder.parent):
        flush(path)


class IrregularFileError(OSError):
    """A folder, pipe, socket or device lies where a file should be."""


def check_regular(path: Path) -> None:
    """Raises IrregularFileError for a folder, pipe, socket or device, whose reading may never end."""
    if path.exists() and not path.is_file():
        raise IrregularFileError(f"{path}: not a regular file. Remove it, or put the file there that belongs there.")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, whole; equal values give equal bytes."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table, whole: columns in the order in which rows have them first; what a row lacks is an empty cell."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_table(path, columns, ([row.get(name) for name in columns] for row in rows))


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, whole, from its cells; None is an empty one."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file, read in pieces"""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_regular(path: Path) -> IO[bytes]:
    """A file opened to read its bytes, without waiting. Raises OSError, also for a FIFO, socket, device or folder."""
    if kind := irregular_kind(path.stat().st_mode):  # before it is opened: to open a device may do something to it
        raise OSError(f"{path}: is {kind}, not a file")
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if kind := irregular_kind(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(f"{path}: is {kind}, not a file")
    return os.fdopen(file, "rb")


def irregular_kind(mode: int) -> str:
    """What there is in place of a file, by its st_mode; empty for a file"""
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return "" if stat.S_ISREG(mode) else kinds.get(stat.S_IFMT(mode), "a special file")
