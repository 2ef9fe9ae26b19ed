"""Snapshots of a training: what is in one, how Ray keeps them, and which one becomes the generator.

Ray Train keeps the best ones and always the last, from which a run resumes.
"""

import json
import math
import posixpath
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import ray.train
import torch
from pyarrow.fs import FileSelector, FileSystem
from ray.train import Checkpoint, Result

from pipelines.artifacts import ticks
from pipelines.artifacts.ticks import TickRow
from pipelines.artifacts.workspace import EXPORTED, GENERATOR
from pipelines.cluster import store
from pipelines.train import ticklog
from pipelines.train.ranks import Report
from stylegan.analysis.contributions import layer_contributions
from stylegan.backends import exact_float32
from stylegan.checkpoint import load_checkpoint, save_checkpoint, save_generator
from stylegan.config.sections import MonitorConfig
from stylegan.data import ImageDataset
from stylegan.distributed import rank
from stylegan.drawing.generate import generate_images, styles
from stylegan.files import write_json
from stylegan.images import grid, save_png
from stylegan.metrics.evaluation.names import KID
from stylegan.state import TrainState
from stylegan.tensor_files import CheckpointError

REGISTER = "checkpoint_manager_snapshot.json"  # Ray's, beside the checkpoints
STATE, ROW = "state.safetensors", "tick.json"  # in every checkpoint, beside the generator
SUMS = "sums.json"  # of the statistics of a tick that was cut
NUM_SAMPLES = 64  # pictures of each snapshot, of fixed seeds
Sums = Mapping[str, Sequence[float]]


def resume(state: TrainState, dataset: ImageDataset, spare_checkpoints: list[Checkpoint]) -> tuple[Report, Sums]:
    """Continue from the checkpoint that Ray registered last, else from the newest that can be read, else stay fresh.

    Its tick is reported again: a kill may have come between Ray's register and the log, or spoilt the register; then
    every checkpoint that can be read is registered again, for one of them may be the best.
    Returns the row of the last tick, and the sums of one that was cut; both are empty for a fresh state.
    """
    registered = ray.train.get_checkpoint()
    row: Report = {}
    if registered is not None:
        with registered.as_directory() as folder:
            load_checkpoint(state, Path(folder) / STATE)
            row, sums = _row_and_sums(Path(folder))
        if row:
            report(state, dataset, row, is_snapshot=False)  # registered twice, it would be deleted once
        return row, sums
    for spare in reversed(spare_checkpoints):  # the last to be registered is the one to go on from
        try:
            with spare.as_directory() as folder:
                found, _ = _row_and_sums(Path(folder))
                load_checkpoint(state, Path(folder) / STATE)
        except (CheckpointError, FileNotFoundError, ValueError):
            continue
        row = found
        report(state, dataset, row, is_snapshot=True)
    return row, {}


def _row_and_sums(folder: Path) -> tuple[Report, Sums]:
    row, sums = ticks.read_one(folder / ROW), folder / SUMS
    return {} if row is None else dict(row.columns), json.loads(sums.read_text()) if sums.exists() else {}


def report(state: TrainState, dataset: ImageDataset, row: Report, *, is_snapshot: bool) -> None:
    """Tell Ray about a tick; every rank has to."""
    with snapshot(state, dataset, row) if is_snapshot else nullcontext() as checkpoint:
        name = f"nimg_{state.cur_nimg:09d}" if is_snapshot else None
        ray.train.report(row, checkpoint=checkpoint, checkpoint_dir_name=name)


def save_if_called_back(state: TrainState, dataset: ImageDataset, row: Report) -> bool:
    """Save a checkpoint beside the run's snapshots if a node will be taken away, and say so; every rank has to ask.

    It is never the best: a run that was interrupted exports what an uninterrupted one does.
    """
    if ray.train.get_preemption_info() is None:
        return False
    state.gather_sums()
    save_beside(state, dataset, row, {})
    return True


def save_beside(state: TrainState, dataset: ImageDataset, row: Report, sums: Sums) -> None:
    """Save a checkpoint beside the run's snapshots; every rank has to.

    row: of the last tick, empty before the first one; sums: of the tick that is cut.
    """
    with snapshot(state, dataset, row, with_samples=False) as checkpoint:
        if checkpoint is not None:
            write_json(Path(checkpoint.path) / SUMS, sums)
        name = f"{ticklog.LEAVING}_{state.cur_nimg:09d}"
        ray.train.report(row | {KID: math.inf}, checkpoint=checkpoint, checkpoint_dir_name=name)


@exact_float32()
def contributions(state: TrainState, dataset: ImageDataset) -> dict[str, float]:
    """Share of each resolution in the sample pictures, in per cent, for the row that is logged, which is rank 0's.

    Nothing for an architecture that has no such shares.
    """
    if rank() != 0 or state.config.generator.architecture != "skip":
        return {}
    ws = styles(state.G_ema, range(NUM_SAMPLES), sample_labels(dataset))
    shares = layer_contributions(state.G_ema, ws, batch_size=state.config.train.batch_gpu)
    return {f"contribution/b{res}": share for res, share in shares.items()}


def sample_labels(dataset: ImageDataset) -> torch.Tensor | None:
    """Labels of the sample pictures  ->  [NUM_SAMPLES, c_dim]; None for an unconditional run"""
    return dataset.labels(range(NUM_SAMPLES)) if dataset.c_dim else None


@contextmanager
def snapshot(
    state: TrainState, dataset: ImageDataset, row: Report, *, with_samples: bool = True
) -> Iterator[Checkpoint | None]:
    """Whole state, generator, sample pictures and row of the log in one folder, on rank 0; None on the others."""
    if rank() != 0:
        yield None
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_checkpoint(state, folder / STATE)
        save_generator(state.G_ema, folder / GENERATOR, dataset.class_names)
        ticks.write_one(folder / ROW, TickRow.of(row) if row else None)
        if with_samples:
            _draw_samples(state, dataset, folder / ticklog.SAMPLES)
        yield Checkpoint.from_directory(folder)


@exact_float32()
def _draw_samples(state: TrainState, dataset: ImageDataset, path: Path) -> None:
    pictures = generate_images(
        state.G_ema, range(NUM_SAMPLES), psi=1.0, cutoff=None, noise_mode="const",
        c=sample_labels(dataset), batch_size=state.config.train.batch_gpu,
    )  # fmt: skip
    save_png(grid(pictures, columns=8), path)


def next_start_nimg(url: str) -> int | None:
    """Images after which the next start of a run resumes, by Ray's register of checkpoints; None if there is none.

    url: of the folder that holds the checkpoints, here or on a store. Raises StoreError.
    """
    with store.explained(url):
        fs, folder = store.filesystem(url)
        try:
            with fs.open_input_file(posixpath.join(folder, REGISTER)) as file:
                latest = json.loads(file.read())["latest_checkpoint_result"]
        except (FileNotFoundError, ValueError, KeyError):
            return None
    return None if latest is None else int(latest["checkpoint_dir_name"].rpartition("_")[2])


def spare_checkpoints(url: str) -> list[Checkpoint]:
    """Set aside a register of checkpoints that a kill cut short, and list what it lists no more, newest first.

    url: of the folder that holds them, here or on a store. Raises StoreError.
    """
    with store.explained(url):
        fs, folder = store.filesystem(url)
        entries = {
            posixpath.basename(entry.path) for entry in fs.get_file_info(FileSelector(folder, allow_not_found=True))
        }
        names = sorted((name for name in entries if name.startswith("nimg_")), reverse=True)
        register = posixpath.join(folder, REGISTER)
        if REGISTER in entries:
            if _is_json(fs, register):
                return []
            fs.delete_file(register)
            start = names[0] if names else "the beginning"
            print(f"{register}: cut short by a kill and removed; training goes on from {start}, if that can be read")
    return [Checkpoint(posixpath.join(folder, name), fs) for name in names]


def _is_json(fs: FileSystem, path: str) -> bool:
    try:
        with fs.open_input_file(path) as file:
            json.loads(file.read())
    except ValueError:
        return False
    return True


def chosen(result: Result, config: MonitorConfig) -> tuple[Checkpoint, TickRow]:
    """The snapshot that becomes the generator, and its row of the log"""
    if config.export == "best":
        snapshot, row = result.best_checkpoints[-1]  # ascending
    else:
        snapshot, row = result.checkpoint, result.metrics or {}
    assert snapshot is not None, "train() ends with a snapshot"
    return snapshot, TickRow.of(row)


def export(checkpoint: Checkpoint, root: Path) -> None:
    """Copy the generator of a snapshot to models/."""
    store.copy_out(checkpoint, GENERATOR, root / EXPORTED)
