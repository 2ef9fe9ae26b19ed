"""What workers say and what ends them, with the rank and the node that it comes from."""

import errno
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

import torch

from pipelines.cluster.nodes import here
from pipelines.cluster.store import StoreError
from stylegan.distributed import rank, world_size
from stylegan.exit_codes import OURS, explain
from stylegan.text import shorten, visible

LASTING = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT,
           errno.EROFS, errno.EFBIG)  # what the system says again when it is asked again  # fmt: skip
LESS_MEMORY = "Set train.batch_gpu lower, which is another run, or use devices with more memory; see `stylegan plan`."


class WorkerError(RuntimeError):
    """A worker failed; the message names its rank and node."""


class LastingError(WorkerError):
    """A worker failed and would fail again in the same way, so that it is not tried again."""


def name() -> str:
    """This rank, as people look for it: rank 1 of 4 on 10.0.0.7, process 1234"""
    return f"rank {rank()} of {world_size()} on {here()}, process {os.getpid()}"


@contextmanager
def named(less_memory: str = LESS_MEMORY) -> Iterator[None]:
    """Begin every line that is printed with the name of the rank, and the message of every error.

    less_memory: what to do about an error for want of memory.
    Raises WorkerError for any error but a StoreError, LastingError for one that would come again.
    """
    with redirect_stdout(_Named(sys.stdout)), redirect_stderr(_Named(sys.stderr)):
        try:
            yield
        except StoreError:  # about no rank
            raise
        except Exception as error:
            said = explain(error) if isinstance(error, OSError) else str(error)
            said = shorten(visible(" ".join(said.splitlines())))
            if is_out_of_memory(error):
                said = f"{said} {less_memory}"
            kind = LastingError if is_lasting(error) else WorkerError
            raise kind(f"{name()}: {type(error).__name__}: {said}") from error


def is_lasting(error: Exception) -> bool:
    """Whether the same steps would fail again: not if a store, a connection or a device may have failed"""
    if isinstance(error, OSError):
        return error.errno in LASTING
    if isinstance(error, RuntimeError):  # torch raises them for what happens to groups and devices too
        return is_out_of_memory(error) or type(error).__module__.partition(".")[0] in OURS
    # Not of libraries that know a network, such as Ray's or those of a store.
    return type(error).__module__.partition(".")[0] in ("builtins", "torch", "numpy", *OURS)


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the machine has no memory left"""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


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
    error = getattr(error, "_base_exc", error)  # what Ray wraps in pages of a traceback
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    own_words = [line[line.index("rank ") :] for line in lines if re.search(r"rank \d+ of \d+ on ", line)]
    if own_words:
        return own_words[-1]
    text = " ".join(lines)
    place = re.search(r"node_ip='([^']+)', pid=(\d+)", text)
    detail = re.search(r"Worker exit detail: (.+?)(?: Some common causes|$)", text)
    where = f" on {place[1]}, process {place[2]}" if place else ""
    return f"rank {rank}{where}: {detail[1] if detail else lines[0]}"


def cause_of(failures: Mapping[int, Exception]) -> Exception:
    """What failed in workers, by rank, without the pages that Ray wraps it in: what lasts first, then a store's errors

    When one rank fails, others stumble over that.
    """
    own = [getattr(failures[rank], "_base_exc", failures[rank]) for rank in sorted(failures)]
    for kind in (LastingError, StoreError):
        for error in own:
            if isinstance(error, kind):
                return error
    first = min(failures)
    return WorkerError(spoken(first, failures[first]))
