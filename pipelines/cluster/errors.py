"""What workers say and what ends them, with the rank and the node that it comes from."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

from pipelines.cluster.nodes import here
from pipelines.cluster.store import StoreError
from stylegan.distributed import rank, world_size
from stylegan.exit_codes import explain
from stylegan.text import shorten, visible


class WorkerError(RuntimeError):
    """A worker failed; the message names its rank and node."""


def name() -> str:
    """This rank, as people look for it: rank 1 of 4 on 10.0.0.7, process 1234"""
    return f"rank {rank()} of {world_size()} on {here()}, process {os.getpid()}"


@contextmanager
def named() -> Iterator[None]:
    """Begin every line that is printed with the name of the rank, and the message of every error.

    Raises WorkerError for any error.
    """
    with redirect_stdout(_Named(sys.stdout)), redirect_stderr(_Named(sys.stderr)):
        try:
            yield
        except Exception as error:
            said = explain(error) if isinstance(error, OSError) else str(error)
            said = shorten(visible(" ".join(said.splitlines())))
            raise WorkerError(f"{name()}: {type(error).__name__}: {said}") from error


class _Named:
    """A stream that begins each line with the name of the rank."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._starts = stream, True

    def write(self, text: str) -> int:
        for line in text.splitlines(keepends=True):
            self._stream.write(f"[{name()}] {line}" if self._starts else line)
            self._starts = line.endswith("\n")
        return len(text)

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._stream, attribute)


def spoken(rank: int, error: Exception) -> str:
    """One line on what ended a worker: its own words, or Ray's on a process that said nothing more"""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    own_words = [line[line.index("rank ") :] for line in lines if re.search(r"rank \d+ of \d+ on ", line)]
    if own_words:
        return own_words[-1]
    text = " ".join(lines)
    place = re.search(r"node_ip='([^']+)', pid=(\d+)", text)
    detail = re.search(r"Worker exit detail: (.+?)(?: Some common causes|$)", text)
    where = f" on {place[1]}, process {place[2]}" if place else ""
    return f"rank {rank}{where}: {detail[1] if detail else lines[0]}"


@contextmanager
def told() -> Iterator[None]:
    """Raise a worker's StoreError as it is, without the pages that Ray wraps it in."""
    from ray.train import WorkerGroupError  # takes seconds to import

    try:
        yield
    except WorkerGroupError as error:
        for cause in error.worker_failures.values():
            original = getattr(cause, "_base_exc", cause)  # Ray wraps it, to keep its traceback
            if isinstance(original, StoreError):
                raise StoreError(str(original)) from error
        raise
