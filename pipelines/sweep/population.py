"""A trial of population based training (Jaderberg et al. 2017): a chain of segments.

Each segment is the training of one interval with one set of values, begun with the whole state of its own trial or of a
better one: runs/<fingerprint>/segments/<hash of the values and of what it begins with>/, so that it too is found again.
"""

import tempfile
from pathlib import Path

from ray import tune
from ray.train import Checkpoint

from pipelines.artifacts import ticks, train_json
from pipelines.artifacts.segments import (
    DONE,
    Pointer,
    Segment,
    read_pointer,
    read_segment,
    write_pointer,
    write_segment,
)
from pipelines.artifacts.ticks import TickRow
from pipelines.artifacts.train_json import TrainRecord
from pipelines.artifacts.workspace import ARCHIVE, EXPORTED
from pipelines.cluster import store, workers
from pipelines.experiments import await_predecessor
from pipelines.params import Params, fingerprint
from pipelines.sweep.job import Job, rung, tag, tell
from pipelines.sweep.space import Drawn
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import publishing
from pipelines.tracking.recording import record_export, record_training
from pipelines.train import (
    exclusive,
    export,
    fit,
    fixed_name_of,
    is_snapshot,
    open_training_set,
    pretrained_file,
    snapshot_name,
)  # fmt: skip


def member_number(trial_id: str) -> int:
    """Place of a trial of a grid among the others, the same in every attempt"""
    return int(trial_id.rpartition("_")[2])


def train_member(params: Params, drawn: Drawn, job: Job) -> Path:
    """Train a member of a population from where its checkpoint points to"""
    number = member_number(tune.get_context().get_trial_id())
    folder = job.state / fingerprint(params.sweep, job.name, str(number), sections=())
    nimg, begin = _pointed_to()
    total, interval = round(params.train.total_kimg * 1000), round(params.sweep.pbt_interval_kimg * 1000)
    await_predecessor(folder)
    row: TickRow | None = None
    with exclusive(folder), publishing(journal := Journal(folder), params.tracking):
        dataset = open_training_set(job.root / ARCHIVE, params)
        record_training(journal, params, dataset.digest)
        tag(journal, drawn, job)
        while nimg < total:
            nimg = min((nimg // interval + 1) * interval, total)
            row, begin = _segment(params, drawn, nimg, begin, journal, job)
            numbers = {name: float(value) for name, value in drawn.items() if isinstance(value, int | float)}
            journal.metrics(nimg, {f"pbt/{name}": value for name, value in numbers.items()})
            if nimg < total:
                with tempfile.TemporaryDirectory() as pointer:
                    write_pointer(Path(pointer), Pointer(nimg=nimg, url=begin))
                    checkpoint = tune.Checkpoint.from_directory(pointer)
                    tune.report(rung(folder.name, row) | {"rung_nimg": nimg}, checkpoint=checkpoint)
        assert begin is not None, "a trial has at least one segment"
        assert row is not None, "a trial has at least one segment"
        export(_checkpoint(begin), folder)
        _write_trained(params, dataset.digest, row, folder, journal)
    return folder


def _pointed_to() -> tuple[int, str | None]:
    """Position and address of the state to resume from; 0 and None at the beginning"""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return 0, None
    with checkpoint.as_directory() as folder:
        pointer = read_pointer(Path(folder))
    return pointer.nimg, pointer.url


def _segment(
    params: Params, drawn: Drawn, end_nimg: int, begin: str | None, journal: Journal, job: Job
) -> tuple[TickRow, str]:
    """Train until end_nimg, or find that done, and return the last row and the address of the last checkpoint."""
    train = params.train.model_copy(update={"total_kimg": end_nimg / 1000})
    params = params.model_copy(update={"train": train})
    dataset = open_training_set(job.root / ARCHIVE, params)
    origin = "" if begin is None else _place_of(begin)
    pretrained, assets = pretrained_file(params, job.root), (job.root / "assets").absolute()
    name = fixed_name_of(params, dataset.digest, pretrained if begin is None else None, None, origin)
    folder = journal.folder / "segments" / name
    if not (folder / DONE).exists():
        await_predecessor(folder)
        start_from = [] if begin is None else [_checkpoint(begin)]
        result = fit(params, dataset, pretrained, assets, Journal(folder), start_from=start_from, tell=tell(job, drawn))
        assert result.checkpoint is not None, "train() ends with a snapshot"
        state = workers.run_state(params.cluster, folder)
        url = store.join(state, "checkpoints", saved := Path(result.checkpoint.path).name)
        # What was saved because a node was called back has no KID; the tick before it has.
        row = TickRow.of(result.metrics or {}) if is_snapshot(saved) else ticks.read(folder)[-1]
        write_segment(folder, Segment(row=row, checkpoint=url, began_with=begin))
    found = read_segment(folder)
    for tick in ticks.read(folder):
        journal.metrics(round(tick.nimg), tick.series)
    return found.row, found.checkpoint


def _place_of(url: str) -> str:
    """Segment and position of a state, wherever runs are kept, also if it was saved because a node was called back"""
    *folders, name = url.partition("?")[0].split("/")[-3:]
    return "/".join([*folders, snapshot_name(int(name.rpartition("_")[2]))])


def _checkpoint(url: str) -> Checkpoint:
    fs, path = store.filesystem(url)
    return Checkpoint(path, fs)


def _write_trained(params: Params, archive_sha256: str, row: TickRow, folder: Path, journal: Journal) -> None:
    nimg = round(row.nimg)
    trained = TrainRecord(
        fingerprint=folder.name, archive_sha256=archive_sha256, resume_from=None, snapshot="last",
        cur_nimg=nimg, trained_nimg=nimg, seed=params.train.seed,
    )  # fmt: skip
    train_json.write(folder, trained)
    record_export(journal, trained)
    journal.artifact(folder / EXPORTED)
    journal.status("FINISHED")
