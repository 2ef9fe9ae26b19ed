"""Snapshots of a training: what is in one, how a run resumes from them, and which one becomes the generator."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, TypeVar

import ray.train
import torch
from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from ray.train import Checkpoint, Result

from pipelines.artifacts import ticks
from pipelines.artifacts.ticks import TickRow
from pipelines.artifacts.workspace import EXPORTED, GENERATOR
from pipelines.cluster import store
from pipelines.drawing.samples import num_columns, num_samples
from pipelines.train import integrity, ticklog
from pipelines.train.integrity import UNREADABLE, Damaged, DamagedError
from pipelines.train.measurements import unmeasured
from pipelines.train.ranks import Report
from stylegan.analysis.contributions import layer_contributions
from stylegan.backends import exact_float32
from stylegan.checkpoint import load_checkpoint, load_generator, save_checkpoint, save_generator
from stylegan.config.sections import MonitorConfig
from stylegan.data import ImageDataset
from stylegan.distributed import all_gather, rank
from stylegan.drawing.generate import generate_images, labels_in_turn, styles
from stylegan.files import check_regular, write_bytes, write_json
from stylegan.images import grid, save_png
from stylegan.metrics.evaluation.names import KID
from stylegan.networks import Generator
from stylegan.state import TrainState
from stylegan.tensor_files import CheckpointError, open_tensors
from stylegan.text import print_lines

STATE, ROW = "state.safetensors", "tick.json"  # in every checkpoint, next to the generator
MEASURED_BY = "monitor.json"  # in every checkpoint: the yardstick of its numbers, or null
WORST = 1e300  # Ray's register cannot hold an infinite number: it comes back as null, and no later start can sort it
SUMS = "sums.json"  # of the statistics of a tick that was cut
Sums = Mapping[str, Sequence[float]]
SUMS_MODEL = TypeAdapter(dict[str, tuple[FiniteFloat, Annotated[FiniteFloat, Field(gt=0)]]])  # sum and count
T = TypeVar("T")


def resume(
    state: TrainState, dataset: ImageDataset, spare_checkpoints: list[Checkpoint], yardstick: str | None,
    measure: Callable[[Generator], Report], recent: Checkpoint | None = None, *, start_from: Sequence[Checkpoint] = (),
) -> tuple[Report, Sums]:  # fmt: skip
    """Continue from the checkpoint that Ray registered last, else from the newest spare one, else stay fresh.

    recent: one that was saved between snapshots, if there is one; the newer one counts.

    Its tick is reported again: a kill may have come between Ray's register and the log, or spoilt the register; then
    every spare checkpoint is registered again, for one of them may be the best. One that was measured by another
    yardstick is measured again first.
    start_from: another run's checkpoints, newest first, with which a run without any of its own begins.
    Returns the row of the last tick, and the sums of one that was cut; both are empty for a fresh state.
    Raises DamagedError, on every rank, when one of them is damaged, also if another rank could read it: the driver
    takes it away. With one of start_from it ends, for a run that continues a state never begins at 0 instead.
    """
    registered = ray.train.get_checkpoint()
    row: Report = {}
    if registered is not None:
        newer = max(registered, recent or registered, key=_position)
        row, sums, _ = _load(state, newer)
        if row:  # registered twice, it would be deleted once
            report(state, dataset, row, yardstick=yardstick, is_snapshot=False)
        return row, sums

    def register(checkpoint: Checkpoint) -> Report:
        found, _, measured_by = _load(state, checkpoint)
        if yardstick is not None and measured_by != yardstick:
            found = unmeasured(found) | measure(state.G_ema)
        report(state, dataset, found, yardstick=yardstick, is_snapshot=True)
        return found

    for spare in reversed(spare_checkpoints):  # the last to be registered is the one to resume from
        row = register(spare)
    if state.cur_nimg == 0:
        for origin in reversed(start_from):
            try:
                row = register(origin)
            except DamagedError as error:
                raise DamagedError(replace(error.damaged, is_origin=True)) from None
    if recent is not None and _position(recent) > state.cur_nimg:
        row, _, _ = _load(state, recent)
        report(state, dataset, row, yardstick=yardstick, is_snapshot=False)
    return row, {}


def _position(checkpoint: Checkpoint) -> int:
    return int(Path(checkpoint.path).name.rpartition("_")[2])


def _load(state: TrainState, checkpoint: Checkpoint) -> tuple[Report, Sums, str | None]:
    """Load a checkpoint into the state  ->  (row of its tick, sums of one that was cut, yardstick)

    Raises DamagedError on every rank if a rank cannot read it: they have to resume from the same one.
    """
    found, damaged = None, None
    try:
        with checkpoint.as_directory() as folder:
            try:
                integrity.check(Path(folder))
                found = (*_row_and_sums(Path(folder)), _read_yardstick(Path(folder) / MEASURED_BY))
                load_checkpoint(state, Path(folder) / STATE)
            except UNREADABLE as error:
                damaged = integrity.describe(checkpoint, folder, error)
    except FileNotFoundError as error:  # the whole folder is gone from a store
        damaged = integrity.describe(checkpoint, checkpoint.path, error)
    for problem in all_gather(damaged):
        if problem is not None:
            raise DamagedError(problem)
    assert found is not None, "read or damaged"
    return found


def find_damage(checkpoint: Checkpoint) -> Damaged | None:
    """What is wrong with a checkpoint, without a state to load it into"""
    try:
        with checkpoint.as_directory() as folder:
            try:
                integrity.check(Path(folder))
                _row_and_sums(Path(folder))
                _read_yardstick(Path(folder) / MEASURED_BY)
                open_tensors(Path(folder) / STATE).read()
            except UNREADABLE as error:
                return integrity.describe(checkpoint, folder, error)
    except FileNotFoundError as error:
        return integrity.describe(checkpoint, checkpoint.path, error)
    return None


def _row_and_sums(folder: Path) -> tuple[Report, Sums]:
    row, path = ticks.read_one(folder / ROW), folder / SUMS
    sums = _read(path, SUMS_MODEL) if path.exists() else {}
    return {} if row is None else dict(row.columns), sums


def _read_yardstick(path: Path) -> str | None:
    return _read(path, TypeAdapter(str | None))


def _read(path: Path, model: TypeAdapter[T]) -> T:
    """The value in a JSON file. Raises CheckpointError for another one, OSError."""
    check_regular(path)
    try:
        return model.validate_json(path.read_bytes(), strict=True)
    except ValidationError as error:
        raise CheckpointError(f"{path}: {error.errors()[0]['msg']}.") from None


def report(state: TrainState, dataset: ImageDataset, row: Report, *, yardstick: str | None, is_snapshot: bool) -> None:
    """Tell Ray about a tick; every rank has to."""
    with snapshot(state, dataset, row, yardstick) if is_snapshot else nullcontext() as checkpoint:
        _register(row, checkpoint, f"nimg_{state.cur_nimg:09d}" if is_snapshot else None)


def _register(row: Report, checkpoint: Checkpoint | None, name: str | None) -> None:
    ray.train.report(row, checkpoint=checkpoint, checkpoint_dir_name=name, checkpoint_upload_fn=store.persist)


def save_if_called_back(state: TrainState, dataset: ImageDataset, row: Report, yardstick: str | None) -> bool:
    """Save a checkpoint next to the run's snapshots if a node will be taken away, and say so; every rank has to ask.

    It is never the best: a run that was interrupted exports what an uninterrupted one does.
    """
    if ray.train.get_preemption_info() is None:
        return False
    state.gather_sums()
    save_beside(state, dataset, row, {}, yardstick)
    return True


def save_beside(state: TrainState, dataset: ImageDataset, row: Report, sums: Sums, yardstick: str | None) -> None:
    """Save a checkpoint next to the run's snapshots; every rank has to.

    row: of the last tick, empty before the first one; sums: of the tick that is cut.
    """
    with snapshot(state, dataset, row, yardstick, sums) as checkpoint:
        _register(row | {KID: WORST}, checkpoint, f"{ticklog.LEAVING}_{state.cur_nimg:09d}")


@exact_float32()
def contributions(state: TrainState, dataset: ImageDataset) -> dict[str, float]:
    """Share of each resolution in the sample images, in per cent, for the row that is logged, which is rank 0's.

    Nothing for an architecture that has no such shares.
    """
    if rank() != 0 or state.config.generator.architecture != "skip":
        return {}
    ws = styles(state.G_ema, range(num_samples(dataset.resolution)), sample_labels(dataset))
    shares = layer_contributions(state.G_ema, ws, batch_size=state.config.train.batch_gpu)
    return {f"contribution/b{res}": share for res, share in shares.items()}


def sample_labels(dataset: ImageDataset) -> torch.Tensor | None:
    """Labels of the sample images, all classes in turn  ->  [num_samples, c_dim]; None for an unconditional run"""
    return labels_in_turn(dataset, num_samples(dataset.resolution)) if dataset.c_dim else None


@contextmanager
def snapshot(
    state: TrainState, dataset: ImageDataset, row: Report, yardstick: str | None, sums: Sums | None = None
) -> Iterator[Checkpoint | None]:
    """Whole state, generator, sample images and row of the log in one folder, on rank 0; None on the others.

    sums: of a tick that is cut, in place of the images.
    """
    if rank() != 0:
        yield None
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_checkpoint(state, folder / STATE)
        save_generator(state.G_ema, folder / GENERATOR, dataset.class_names)
        write_position(folder, row, yardstick)
        if sums is None:
            save_png(sample_grid(state, dataset), folder / ticklog.SAMPLES)
        else:
            write_json(folder / SUMS, sums)
        integrity.seal(folder)
        yield Checkpoint.from_directory(folder)


def write_position(folder: Path, row: Report, yardstick: str | None) -> None:
    """Row of the last tick, and by what its numbers were measured"""
    ticks.write_one(folder / ROW, TickRow.of(row) if row else None)
    write_json(folder / MEASURED_BY, yardstick)


@exact_float32()
def sample_grid(state: TrainState, dataset: ImageDataset) -> torch.Tensor:
    """Images of fixed seeds by the averaged generator, side by side  ->  uint8 [C, H, W]"""
    pictures = generate_images(
        state.G_ema, range(num_samples(dataset.resolution)), psi=1.0, cutoff=None, noise_mode="const",
        c=sample_labels(dataset), batch_size=state.config.train.batch_gpu,
    )  # fmt: skip
    return grid(pictures, columns=num_columns(dataset.resolution))


def report_beginning(state: TrainState, dataset: ImageDataset) -> None:
    """Send the images of a run that has not learned yet; every rank has to. It is no tick."""
    row: Report = {"nimg": 0.0}
    if rank() == 0:
        with tempfile.TemporaryDirectory() as name:
            save_png(sample_grid(state, dataset), file := Path(name) / ticklog.SAMPLES)
            row[ticklog.BEGINNING] = file.read_bytes()
    ray.train.report(row)


def chosen(result: Result, config: MonitorConfig) -> tuple[Checkpoint, TickRow]:
    """The snapshot that becomes the generator, and its row of the log"""
    if config.export == "best":
        snapshot, row = result.best_checkpoints[-1]  # ascending
    else:
        snapshot, row = result.checkpoint, result.metrics or {}
    assert snapshot is not None, "train() ends with a snapshot"
    return snapshot, TickRow.of(row)


def export(checkpoint: Checkpoint, root: Path, class_names: Sequence[str] | None = None) -> None:
    """Copy the generator of a snapshot to models/; if its file is damaged, write it anew from the state next to it.

    Raises CheckpointError, StoreError when neither can be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            store.copy_out(checkpoint, GENERATOR, copy := Path(folder) / GENERATOR)
            open_tensors(copy).read()
        except (CheckpointError, store.StoreError) as error:
            _rebuild(checkpoint, copy, integrity.describe(checkpoint, folder, error).problem, class_names)
        write_bytes(root / EXPORTED, copy.read_bytes())


def _rebuild(checkpoint: Checkpoint, path: Path, problem: str, class_names: Sequence[str] | None) -> None:
    """Write a snapshot's generator file from its state. Raises CheckpointError that says what is left to do."""
    try:
        store.copy_out(checkpoint, STATE, state := path.parent / STATE)
        G_ema = load_generator(state)
    except (CheckpointError, store.StoreError) as error:
        also = integrity.describe(checkpoint, str(path.parent), error).problem
        raise CheckpointError(
            f"{problem} Nor can it be written from the state: {also} Delete {store.shown(checkpoint.path)} and run "
            "the same command again, which exports the best of the others; or delete the run to train it again."
        ) from None
    save_generator(G_ema, path, class_names)
    print_lines(f"{problem} It is written again from the state in the same folder.")
