"""The snapshots of a run that are kept, here or on a store: Ray Train keeps the best ones and always the last.

Ray's register lists those that are whole. A trainer may write it, and delete what it no longer lists, at any time.
"""

import json
import posixpath
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyarrow.fs import FileSelector, FileSystem
from pydantic import BaseModel
from ray.train import Checkpoint

from pipelines.artifacts.ticks import TickRow
from pipelines.cluster import store
from pipelines.train.ranks import Report
from pipelines.train.snapshots import MEASURED_BY

REGISTER = "checkpoint_manager_snapshot.json"  # Ray's, beside the checkpoints
ATTEMPTS, WAIT_SEC = 4, 0.5  # of a register or snapshot that is being written or deleted
SNAPSHOT = "nimg_"  # begins the names of snapshots; the position follows


class _Listed(BaseModel):
    """A checkpoint, and what was reported with it."""

    checkpoint_dir_name: str
    metrics: Report


class _Register(BaseModel):
    """What is read of Ray's register."""

    checkpoint_results: tuple[_Listed, ...] = ()
    latest_checkpoint_result: _Listed | None = None


@dataclass(frozen=True)
class Kept:
    """A snapshot that the register lists, and its row of the log."""

    checkpoint: Checkpoint
    row: TickRow

    @property
    def nimg(self) -> int:
        """Position of the snapshot"""
        return round(self.row.nimg)


def registered(state: str) -> list[Kept]:
    """Snapshots of the run whose state is at a path or URL, by their positions; none while the register is written

    Raises StoreError, or ValueError for a row that is not of this version.
    """
    url = store.join(state, "checkpoints")
    listed = _register_at(url).checkpoint_results
    with store.explained(url):
        fs, folder = store.filesystem(url)
    found = [
        Kept(Checkpoint(posixpath.join(folder, each.checkpoint_dir_name), fs), TickRow.of(each.metrics))
        for each in listed
        if _is_one(each.checkpoint_dir_name)
    ]
    return sorted(found, key=lambda kept: kept.nimg)


def take(state: str, name: str, path_of: Callable[[Kept], Path], *, best: bool) -> Kept:
    """Copy a file of the newest snapshot, or of the one with the lowest KID, to where path_of says

    Its trainer may delete it while it is copied; then another is taken. Raises FileNotFoundError when there is none.
    """
    for _ in range(ATTEMPTS):
        found = registered(state)
        if best:
            measured = [(kept.row.monitor.kid, kept) for kept in found]
            rated = [(kid, kept) for kid, kept in measured if kid is not None]
            found = [kept for _, kept in sorted(rated, key=lambda each: -each[0])]
        if found:
            try:
                store.copy_out(found[-1].checkpoint, name, path_of(found[-1]))
                return found[-1]
            except store.StoreError:
                pass
        time.sleep(WAIT_SEC)
    raise FileNotFoundError(
        f"{store.shown(state)}: no {'measured ' if best else ''}snapshot yet. The first comes after train.tick_kimg x "
        "train.snapshot_ticks kimg; try again then."
    )


def newest_nimg(state: str) -> int:
    """Position of the newest snapshot of a run, whole or not; 0 without one. Raises StoreError."""
    fs, folder = store.filesystem(store.join(state, "checkpoints"))
    return max((int(name.removeprefix(SNAPSHOT)) for name in _names(fs, folder) if _is_one(name)), default=0)


def next_start_nimg(url: str) -> int | None:
    """Images after which the next start of a run resumes, by Ray's register of checkpoints; None if there is none.

    url: of the folder that holds the checkpoints, here or on a store. Raises StoreError.
    """
    latest = _register_at(url).latest_checkpoint_result
    return None if latest is None else int(latest.checkpoint_dir_name.rpartition("_")[2])


def spare_checkpoints(url: str, yardstick: str | None) -> list[Checkpoint]:
    """Set aside a register of checkpoints that cannot be used, and list what it lists no more, newest first.

    Either a kill cut it short, or it ranks by numbers of another yardstick (None: nothing is ranked).
    url: of the folder that holds them, here or on a store. Raises StoreError.
    """
    with store.explained(url):
        fs, folder = store.filesystem(url)
        entries = _names(fs, folder)
        names = sorted((name for name in entries if _is_one(name)), reverse=True)
        register = posixpath.join(folder, REGISTER)
        if REGISTER in entries:
            start = names[0] if names else "the beginning"
            if not _is_whole(fs, register):
                print(f"{register}: cut short by a kill and removed; training goes on from {start}, if it can be read")
            elif yardstick and any(_measured_otherwise(fs, f"{folder}/{name}", yardstick) for name in names):
                print(f"monitor: changed since the {len(names)} snapshots that are kept, which are measured again")
            else:
                return []
            fs.delete_file(register)
    return [Checkpoint(posixpath.join(folder, name), fs) for name in names]


def _names(fs: FileSystem, folder: str) -> set[str]:
    return {posixpath.basename(entry.path) for entry in fs.get_file_info(FileSelector(folder, allow_not_found=True))}


def _is_one(name: str) -> bool:
    return name.startswith(SNAPSHOT)


def _is_whole(fs: FileSystem, path: str) -> bool:
    with fs.open_input_file(path) as file:
        return _parsed(file.read()) is not None


def _measured_otherwise(fs: FileSystem, folder: str, yardstick: str) -> bool:
    """Whether a snapshot says so; one that a kill cut short says nothing"""
    try:
        with fs.open_input_file(posixpath.join(folder, MEASURED_BY)) as file:
            return bool(json.loads(file.read()) != yardstick)
    except (FileNotFoundError, ValueError):
        return False


def _register_at(url: str) -> _Register:
    """Ray's register of checkpoints in a folder; an empty one without it, and while it is written"""
    return _parsed(store.read(store.join(url, REGISTER)) or b"{}") or _Register()


def _parsed(content: bytes) -> _Register | None:
    try:
        return _Register.model_validate(json.loads(content))
    except ValueError:
        return None
