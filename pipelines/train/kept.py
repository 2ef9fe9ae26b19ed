"""The snapshots of a run that are kept, here or on a store: Ray Train keeps the best ones and always the last.

Ray's register lists those that are whole. A trainer may write it, and delete what it no longer lists, at any time.
"""

import json
import math
import posixpath
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow.fs import FileSelector, FileSystem, FileType
from pydantic import BaseModel, ValidationError
from ray.train import Checkpoint

from pipelines.artifacts.json_lines import Record
from pipelines.artifacts.ticks import TickRow
from pipelines.cluster import store
from pipelines.train.integrity import Damaged
from pipelines.train.ranks import Report
from pipelines.train.snapshots import MEASURED_BY, ROW, find_damage
from stylegan.metrics.evaluation.names import KID
from stylegan.text import print_lines
from stylegan.wording import counted

REGISTER = "checkpoint_manager_snapshot.json"  # Ray's, next to the checkpoints
ATTEMPTS, WAIT_SEC = 4, 0.5  # of a register or snapshot that is being written or deleted
SNAPSHOT = "nimg_"  # begins the names of snapshots; the position follows


class _Listed(BaseModel):
    """A checkpoint, and what was reported with it."""

    checkpoint_dir_name: str
    metrics: Report


class _Register(BaseModel):
    """What Ray asks of its register."""

    checkpoint_results: tuple[_Listed, ...] = ()
    checkpoint_report_indices: tuple[int, ...] = ()
    latest_checkpoint_result: _Listed | None = None
    current_report_index: int = 0
    pending_training_results: tuple[_Listed, ...] = ()
    pending_validation_specs: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Kept:
    """A snapshot that the register lists, and its row of the log."""

    checkpoint: Checkpoint
    row: TickRow

    @property
    def nimg(self) -> int:
        """Position of the snapshot"""
        return round(self.row.nimg)


def is_snapshot(name: str) -> bool:
    """Whether a checkpoint, by the name of its folder, is a snapshot and not what an interrupted run saved"""
    return name.startswith(SNAPSHOT)


def snapshot_name(nimg: int) -> str:
    """Name of the folder of the snapshot at a position"""
    return f"{SNAPSHOT}{nimg:09d}"


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
        if is_snapshot(each.checkpoint_dir_name)
    ]
    return sorted(found, key=lambda kept: kept.nimg)


def take(state: str, name: str, path_of: Callable[[Kept], Path], *, best: bool) -> Kept:
    """Copy a file of the newest snapshot, or of the one with the lowest KID, to where path_of says

    Its trainer may delete it while it is copied; then another is taken. Raises FileNotFoundError if there is none.
    """
    for _ in range(ATTEMPTS):
        found = registered(state)
        if best:
            measured = [(kept.row.monitor.kid, kept) for kept in found]
            rated = [(kid, kept) for kid, kept in measured if kid is not None and math.isfinite(kid)]
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
    names = store.list_names(store.join(state, "checkpoints"))
    return max((int(name.removeprefix(SNAPSHOT)) for name in names if is_snapshot(name)), default=0)


def next_start_nimg(url: str) -> int | None:
    """Images after which the next start of a run resumes, by Ray's register of checkpoints; None if there is none.

    url: of the folder that holds the checkpoints, here or on a store. Raises StoreError.
    """
    latest = _register_at(url).latest_checkpoint_result
    return None if latest is None else int(latest.checkpoint_dir_name.rpartition("_")[2])


def spare_checkpoints(url: str, yardstick: str | None) -> list[Checkpoint]:
    """Set aside a register of checkpoints that cannot be used, and list what it lists no more, newest first.

    Either it is damaged, or it ranks by numbers of another yardstick (None: nothing is ranked).
    url: of the folder that holds them, here or on a store. Raises StoreError.
    """
    with store.explained(url):
        fs, folder = store.filesystem(url)
        entries = _names(fs, folder)
        names = sorted((name for name in entries if is_snapshot(name)), reverse=True)
        register = posixpath.join(folder, REGISTER)
        if REGISTER in entries:
            start = names[0] if names else "the beginning"
            if (problem := _problem_of_register(fs, folder, entries)) is not None:
                print_lines(f"{register}: {problem} and removed; training resumes from {start}, if it can be read")
            elif yardstick and any(_measured_otherwise(fs, f"{folder}/{name}", yardstick) for name in names):
                again = counted(len(names), "kept snapshot, which is", "kept snapshots, which are")
                print_lines(f"monitor: changed since the {again} measured again")
            else:
                return []
            fs.delete_file(register)
    return [Checkpoint(posixpath.join(folder, name), fs) for name in names]


def set_aside(url: str, damaged: Damaged) -> list[Checkpoint]:
    """Take a damaged checkpoint off the register, with all others, and list the snapshots that are left, newest first

    Its files stay until training has come to its position again and writes over them. Raises StoreError.
    """
    with store.explained(url):
        fs, folder = store.filesystem(url)
        entries = _names(fs, folder)
        if REGISTER in entries:
            fs.delete_file(posixpath.join(folder, REGISTER))
        names = sorted((name for name in entries if is_snapshot(name) and name != damaged.name), reverse=True)
    return whole([Checkpoint(posixpath.join(folder, name), fs) for name in names], [damaged])


def whole(snapshots: Sequence[Checkpoint], known: Sequence[Damaged] = ()) -> list[Checkpoint]:
    """The snapshots that are not damaged, in order; of each that is, and of those known to be, one line is printed."""
    found = {snapshot.path: find_damage(snapshot) for snapshot in snapshots}
    left = [snapshot for snapshot in snapshots if found[snapshot.path] is None]
    start = f"from {Path(left[0].path).name}, the newest that is whole" if left else "anew, for no other is whole"
    for damaged in [*known, *(each for each in found.values() if each is not None)]:
        print_lines(f"damaged checkpoint {damaged.name} is not used: {damaged.problem} Training starts {start}.")
    return left


def _names(fs: FileSystem, folder: str) -> set[str]:
    return {posixpath.basename(entry.path) for entry in fs.get_file_info(FileSelector(folder, allow_not_found=True))}


def _problem_of_register(fs: FileSystem, folder: str, entries: set[str]) -> str | None:
    """Why Ray could not resume from its register, or would from what its checkpoints do not say; None if it can"""
    content = _json_object(_read(fs, posixpath.join(folder, REGISTER)))
    if content is None:
        return "cut short by a kill"
    if content and (missing := _Register.model_fields.keys() - content.keys()):
        return f"damaged (it has no {min(missing)})"
    try:
        register = _Register.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        return f"damaged ({'.'.join(map(str, first['loc']))}: {first['msg']})"
    if len(register.checkpoint_report_indices) != len(register.checkpoint_results):
        return "damaged (it has not as many checkpoint_report_indices as checkpoint_results)"
    for listed in filter(None, [*register.checkpoint_results, register.latest_checkpoint_result]):
        name = listed.checkpoint_dir_name
        if name not in entries:
            return f"damaged (it lists {name}, which is gone)"
        if is_snapshot(name) and _says_otherwise(fs, f"{folder}/{name}", listed.metrics):
            return f"damaged (its numbers of {name} are not those in {name}/{ROW})"
    return None


def _says_otherwise(fs: FileSystem, folder: str, row: Report) -> bool:
    """Whether the row in a snapshot has another position or KID; one that is damaged says nothing here"""
    try:
        found = json.loads(_read(fs, posixpath.join(folder, ROW)))
        return bool(found) and any(not _is_same(row.get(name), found.get(name)) for name in ("nimg", KID))
    except (FileNotFoundError, ValueError, AttributeError, RecursionError):
        return False


def _is_same(one: object, other: object) -> bool:
    return one == other or (one != one and other != other)  # NaN is the KID of images that are not finite


def _measured_otherwise(fs: FileSystem, folder: str, yardstick: str) -> bool:
    """Whether a snapshot says so; one that a kill cut short says nothing"""
    try:
        return bool(json.loads(_read(fs, posixpath.join(folder, MEASURED_BY))) != yardstick)
    except (FileNotFoundError, ValueError):
        return False


def _register_at(url: str) -> _Register:
    """Ray's register of checkpoints in a folder; an empty one without it, and while it is written"""
    return _parsed(store.read(store.join(url, REGISTER)) or b"{}") or _Register()


def _parsed(content: bytes) -> _Register | None:
    try:
        return _Register.model_validate(json.loads(content))
    except (ValueError, RecursionError):
        return None


def _json_object(content: bytes) -> Record | None:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _read(fs: FileSystem, path: str) -> bytes:
    """Content of a file; nothing of what is no regular file, whose reading may never end. Raises FileNotFoundError."""
    kind = fs.get_file_info(path).type
    if kind == FileType.NotFound:
        raise FileNotFoundError(path)
    if kind != FileType.File:
        return b""
    with fs.open_input_file(path) as file:
        content: bytes = file.read()
        return content
