"""Files that records are appended to, one JSON object a line: a reader gets whole lines only, from where it stopped."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Add one record; whatever is killed when, a reader sees all of it or nothing."""
    # One write of one line, without a buffer.
    with path.open("ab", buffering=0) as stream:
        stream.write((json.dumps(record) + "\n").encode())


def read(path: Path, offset: int = 0) -> Iterator[tuple[Record, int]]:
    """Yield every whole record after a byte offset, with the offset that follows it; nothing without a file."""
    if not path.exists():
        return
    with path.open("rb") as stream:
        stream.seek(offset)
        for line in stream:
            if not line.endswith(b"\n"):  # being written right now
                return
            offset += len(line)
            yield json.loads(line), offset


def drop_torn_line(path: Path) -> None:
    """Cut what a kill left half-written, before anything is appended."""
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            with path.open("r+b") as stream:
                stream.truncate(content.rfind(b"\n") + 1)
