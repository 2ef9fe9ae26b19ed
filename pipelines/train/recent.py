"""Checkpoints between snapshots: every few minutes one to resume from, in <run>/resume/, of which the last are kept.

They are no part of Ray's register, which would rank them among the snapshots. Rank 0 copies the state to memory, and a
thread writes it while training continues. A folder without checksums is one that a kill cut short.
"""

import copy
import posixpath
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem
from ray.train import Checkpoint
from torch import Tensor, nn

from pipelines.cluster import store
from pipelines.train import integrity
from pipelines.train.integrity import CHECKSUMS
from pipelines.train.ranks import Report
from pipelines.train.snapshots import STATE, write_position
from stylegan.checkpoint import save_checkpoint
from stylegan.config.sections import TrainConfig
from stylegan.distributed import broadcast_, rank
from stylegan.exit_codes import explain
from stylegan.files import flush_folder
from stylegan.state import TrainState

FOLDER = "resume"
PREFIX = "resume_"  # begins their names; the position follows
NUM_TO_KEEP = 2  # a damaged newest one leaves another
NUM_SNAPSHOTS = 3  # that Ray keeps besides: the best two, and the last


class Keeper:
    """One rank's side: all of them ask after every tick, and rank 0's clock decides."""

    def __init__(self, state_url: str, minutes: float, tell: Callable[[str], object]) -> None:
        self._url, self._sec, self._tell = store.join(state_url, FOLDER), minutes * 60, tell
        self._last = time.monotonic()
        self._writer: threading.Thread | None = None
        self._has_told = False

    def restart(self) -> None:
        """Another checkpoint was saved: the next one comes a full interval later."""
        self._last = time.monotonic()

    def save_if_due(self, state: TrainState, row: Report, yardstick: str | None) -> bool:
        """Begin to save a checkpoint at the end of a tick, and return whether; every rank has to ask."""
        if self._sec == 0:
            return False
        is_due = torch.tensor(int(rank() == 0 and self._is_due()), device=state.device)
        broadcast_([is_due])
        if not is_due:
            return False
        state.gather_sums()
        self.restart()
        if rank() == 0:
            arguments = (frozen_copy(state), dict(row), yardstick)
            self._writer = threading.Thread(target=self._write, args=arguments, name="checkpoint")
            self._writer.start()
        return True

    def finish(self) -> None:
        """Wait until what was begun is written."""
        if self._writer is not None:
            self._writer.join()

    def _is_due(self) -> bool:
        is_writing = self._writer is not None and self._writer.is_alive()
        return not is_writing and time.monotonic() - self._last >= self._sec

    def _write(self, state: TrainState, row: Report, yardstick: str | None) -> None:
        try:
            write(self._url, state, row, yardstick)
            size = prune(self._url, state.cur_nimg)
        except Exception as error:  # nothing of the kind ends a training
            said = explain(error) if isinstance(error, OSError) else f"{error}"
            self._tell(f"warning: no checkpoint to resume from was written: {said.rstrip('.')}. Training continues.")
            return
        if not self._has_told:
            self._has_told = True
            self._tell(self._describe(size))

    def _describe(self, size: int) -> str:
        most = size * (NUM_TO_KEEP + NUM_SNAPSHOTS)
        return (
            f"a checkpoint to resume from every {self._sec / 60:g} min, {size / 1e6:.1f} MB each; with snapshots the "
            f"run takes about {most / 1e6:.1f} MB at most"
        )


def frozen_copy(state: TrainState) -> TrainState:
    """The state as it is now, in memory; the other one may be trained meanwhile."""
    tensors: list[Tensor] = [state.sums, state.pl_mean]
    for net in (state.G, state.D, state.G_ema):
        tensors += [*net.parameters(), *net.buffers()]
    for optimizer in (state.opt_g, state.opt_d):
        tensors += [value for moments in optimizer.state.values() for value in moments.values()]
    memo: dict[int, object] = {}
    for tensor in tensors:
        here = tensor.detach().to("cpu", copy=True)
        memo[id(tensor)] = nn.Parameter(here, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else here
    return copy.deepcopy(state, memo)


def write(url: str, state: TrainState, row: Report, yardstick: str | None) -> None:
    """Write a checkpoint, its checksums last. Raises OSError."""
    fs, folder = store.filesystem(url)
    target = posixpath.join(folder, f"{PREFIX}{state.cur_nimg:09d}")
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(target if isinstance(fs, LocalFileSystem) else scratch)
        place.mkdir(parents=True, exist_ok=True)
        (place / CHECKSUMS).unlink(missing_ok=True)
        save_checkpoint(state, place / STATE)
        write_position(place, row, yardstick)
        flush_folder(place)
        integrity.seal(place)
        flush_folder(place)
        if not isinstance(fs, LocalFileSystem):
            for file in sorted(place.iterdir(), key=lambda file: file.name == CHECKSUMS):
                store.write(file, fs, posixpath.join(target, file.name))


def prune(url: str, cur_nimg: int) -> int:
    """Delete all but the last ones up to a position, and return the bytes of the newest

    Those beyond it are of a training that had to go back.
    """
    fs, folder = store.filesystem(url)
    sizes = _sizes(fs, folder)
    keep = sorted(nimg for nimg in sizes if nimg <= cur_nimg)[-NUM_TO_KEEP:]
    for entry in fs.get_file_info(FileSelector(folder, allow_not_found=True)):
        name = posixpath.basename(entry.path)
        if entry.type == FileType.Directory and name not in [f"{PREFIX}{nimg:09d}" for nimg in keep]:
            fs.delete_dir(entry.path)
    return sizes[keep[-1]] if keep else 0


def end_nimg(train: TrainConfig) -> int:
    """Position at which training ends: the first whole step that reaches total_kimg"""
    return -(-round(train.total_kimg * 1000) // train.batch_size) * train.batch_size


def newest(state_url: str, end_nimg: int) -> Checkpoint | None:
    """The newest one up to a position; None if there is none. Raises StoreError."""
    url = store.join(state_url, FOLDER)
    with store.explained(url):
        fs, folder = store.filesystem(url)
        positions = [nimg for nimg in _sizes(fs, folder) if nimg <= end_nimg]
    return Checkpoint(posixpath.join(folder, f"{PREFIX}{max(positions):09d}"), fs) if positions else None


def newest_nimg(state_url: str) -> int:
    """Position of the newest one; 0 without any. Raises StoreError."""
    found = newest(state_url, sys.maxsize)
    return 0 if found is None else int(Path(found.path).name.removeprefix(PREFIX))


def remove(state_url: str, *names: str) -> None:
    """Delete a checkpoint, or all with their folder. Raises StoreError."""
    store.remove(store.join(state_url, FOLDER, *names))


def _sizes(fs: FileSystem, folder: str) -> dict[int, int]:
    """Bytes of each checkpoint that is complete, by position"""
    sizes: dict[str, int] = {}
    complete = set()
    for entry in fs.get_file_info(FileSelector(folder, allow_not_found=True, recursive=True)):
        parent, name = posixpath.split(entry.path)
        place = posixpath.basename(parent)
        if entry.type == FileType.File and place.startswith(PREFIX):
            sizes[place] = sizes.get(place, 0) + entry.size
            complete |= {place} if name == CHECKSUMS else set()
    return {int(name.removeprefix(PREFIX)): sizes[name] for name in complete if name.removeprefix(PREFIX).isdecimal()}
