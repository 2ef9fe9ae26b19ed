"""Whose Ray is it: an environment variable that all processes of a Ray inherit which this project starts.

It names the process that started Ray and the checkout. Ray gives its processes titles, which by default overwrite the
environment that others can read; SPT_NOENV leaves that alone.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipelines.params import ROOT

MARK = "STYLEGAN_RAY_OWNER"  # <pid>:<start of that process in seconds since 1970>:<checkout>
KEEPS_ENVIRONMENT = {"SPT_NOENV": "1"}


@dataclass(frozen=True)
class Owner:
    """The process that started a Ray."""

    pid: int
    started: float
    root: Path

    def is_alive(self) -> bool:
        """False too if another process has the number by now."""
        try:
            process = psutil.Process(self.pid)
            return bool(process.create_time() == self.started and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def __str__(self) -> str:
        return f"{self.pid}:{self.started!r}:{self.root}"


def this_process(root: Path = ROOT) -> Owner:
    return Owner(os.getpid(), psutil.Process().create_time(), root.resolve())


@contextmanager
def marked() -> Iterator[None]:
    """Mark the processes that start in the block as this one's."""
    added = KEEPS_ENVIRONMENT | {MARK: str(this_process())}
    before = {name: os.environ.get(name) for name in added}
    os.environ |= added
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def end_own() -> None:
    """Kill what is left of a Ray that this process tried to start."""
    owner = this_process()
    for child in psutil.Process().children(recursive=True):
        try:
            if owner_of(child) == owner:
                child.kill()
        except psutil.Error:
            continue


def owner_of(process: psutil.Process) -> Owner | None:
    """Who started the Ray that a process belongs to; None for any other. Raises psutil.Error if it cannot be read."""
    return parse(process.environ().get(MARK, ""))


def parse(text: str) -> Owner | None:
    """The owner that a mark names; None if it names none"""
    pid, _, rest = text.partition(":")
    started, _, root = rest.partition(":")
    try:
        return Owner(int(pid), float(started), Path(root))
    except ValueError:
        return None
