"""Files that records are appended to, one JSON object a line: a reader gets whole lines only, from where it stopped."""

import errno
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stylegan.files import check_regular, naming

Record = dict[str, Any]
CHECKSUM = "crc32"  # key of a line, the last: of the line without it


class DamagedLineError(ValueError):
    """A line that nobody can have written to a file of records; the message names file and place."""

    def __init__(self, path: Path, offset: int, problem: str) -> None:
        super().__init__(f"{path}: the line after byte {offset} is damaged: {problem}")
        self.problem = problem


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add one record; whatever is killed when, a reader sees all of it or nothing. On a full disk nothing is added."""
    line = line_of(record)
    # One write of one line, without a buffer.
    with naming(path), path.open("ab", buffering=0) as stream:
        end = stream.seek(0, os.SEEK_END)
        try:
            if stream.write(line) < len(line):  # there was room for a part of it
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            stream.truncate(end)  # the next record would stand in the same line
            raise


def line_of(record: Mapping[str, Any]) -> bytes:
    """One record as a line, its checksum last"""
    text = json.dumps(record)
    return f"{text[:-1]}{', ' if record else ''}{_mark(text)}}}\n".encode()


def _mark(text: str) -> str:
    return f'"{CHECKSUM}": "{zlib.crc32(text.encode()):08x}"'


def record_of(line: bytes) -> Record:
    """The record of a line, without its checksum, which lines of earlier versions lack. Raises ValueError."""
    try:
        record = json.loads(line)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(record, dict):
        raise ValueError("it is not an object")
    if CHECKSUM in record:
        found = record.pop(CHECKSUM)
        if line_of(record).rstrip() != line.rstrip():
            raise ValueError(f"its checksum is not {found}")
    return record


def read(path: Path, offset: int = 0) -> Iterator[tuple[Record, int]]:
    """Yield every whole record after a byte offset, with the offset that follows it; nothing without a file.

    Raises DamagedLineError for a line that is no record, or not the one that was written.
    """
    check_regular(path)
    if not path.exists():
        return
    with path.open("rb") as stream:
        stream.seek(offset)
        for line in stream:
            if not line.endswith(b"\n"):  # being written right now
                return
            try:
                record = record_of(line)
            except ValueError as error:
                raise DamagedLineError(path, offset, str(error)) from None
            offset += len(line)
            yield record, offset


def drop_torn_line(path: Path) -> None:
    """Cut what a kill left half-written, before anything is appended."""
    check_regular(path)
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            with path.open("r+b") as stream:
                stream.truncate(content.rfind(b"\n") + 1)
