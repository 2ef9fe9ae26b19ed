"""One trial of a sweep: an ordinary run (runs/<fingerprint>/), trained as by the stage `train`, measured at every psi.

It runs in a process that reserves nothing; the workers that it starts hold its share of the machine. A finished trial
is found again by its fingerprint, an unfinished one resumes. The record of each (trial, psi) lies in
runs/<fingerprint>/points/.

With population based training (Jaderberg et al. 2017) a trial is a chain of segments, each the training of one
interval with one set of values, begun with the whole state of its own trial or of a better one:
runs/<fingerprint>/segments/<hash of the values and of what it begins with>/, so that it too is found again.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.train import Checkpoint
from ray.tune.integration.ray_train import TuneReportCallback

from pipelines.artifacts import ticks, train_json
from pipelines.artifacts.metric_names import Row, distance_of, metric_names
from pipelines.artifacts.train_json import is_finished
from pipelines.artifacts.workspace import ARCHIVE, EXPORTED
from pipelines.cluster import store, workers
from pipelines.params import TRAINED_SECTIONS, Params, fingerprint
from pipelines.runs import await_predecessor, evaluated, record_measurement
from pipelines.space import Drawn, described, of_trial
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import publishing
from pipelines.tracking.recording import record_export, record_training
from pipelines.train import code_digest, exclusive, export, fit, inputs_of, open_training_set, pretrained_file, run
from stylegan.files import write_json
from stylegan.metrics.names import KID

POINTER = "pointer.json"  # what Tune keeps as a checkpoint: where the state lies


@dataclass(frozen=True)
class Job:
    """What all trials of a sweep share."""

    params: Params
    root: Path  # of archive, weights and pretrained networks
    state: Path  # runs/
    name: str  # of the sweep

    def stopped(self, run_name: str) -> Path:
        """The mark of a trial that the scheduler has ended before its time"""
        return self.state / "sweeps" / self.name / "stopped" / run_name


class Rungs(TuneReportCallback):  # type: ignore[misc]
    """Tells Tune the KID of every snapshot but the last, whose number is that of the whole trial."""

    def __init__(self, run_name: str, total_nimg: int) -> None:
        super().__init__()
        self.run_name, self.total_nimg = run_name, total_nimg

    def after_report(self, run_context: Any, metrics: list[ticks.Row], checkpoint: Checkpoint | None) -> None:
        if checkpoint is not None and metrics[0]["nimg"] < self.total_nimg and KID in metrics[0]:
            super().after_report(run_context, [rung(self.run_name, metrics[0])], None)


def rung(run_name: str, row: ticks.Row) -> dict[str, Any]:
    """What a scheduler and a searcher learn of a snapshot; the end of a trial has no rung_nimg"""
    nimg = round(row["nimg"])
    return {"run": run_name, "nimg": nimg, "rung_nimg": nimg, "kid": row[KID], "distance": row[KID]}


def train_trial(config: Mapping[str, Any], job: Job) -> None:
    """A whole trial, in a process of Tune; its last report is its end."""
    params = of_trial(job.params, drawn := dict(config["drawn"]))
    begin = _member if params.sweep.scheduler == "pbt" else _ordinary
    folder = begin(params, drawn, job)
    if folder is None:
        return
    evaluation = evaluated(params, folder, job.root, job.state)
    content = json.loads((evaluation / "metrics.json").read_text())
    _record(params, drawn, content, folder, job)
    found = {"evaluation": evaluation.name}
    _tell_rungs(folder, params, found)
    best = min(row[distance_of(row)] for row in content["truncation"])
    nimg = train_json.read(folder)["trained_nimg"]
    tune.report({"run": folder.name, "nimg": nimg, "kid": best, "distance": best, **found})


def _ordinary(params: Params, drawn: Drawn, job: Job) -> Path | None:
    """Train, or find the finished run; None for one that the scheduler has stopped"""
    folder = inputs_of(params, job.root, job.state).folder
    await_predecessor(folder)
    mark = job.stopped(folder.name)
    if is_finished(folder) and not mark.exists():
        return folder
    _tell_rungs(folder, params, {})
    if mark.exists():
        return None
    _tag(Journal(folder), drawn, job)
    callback = Rungs(folder.name, round(params.train.total_kimg * 1000))
    return run(params, job.root, job.state, out=folder, callbacks=[callback])


def _tell_rungs(folder: Path, params: Params, more: Mapping[str, str]) -> None:
    """Tell what a scheduler, which knows nothing of an earlier attempt, compares other trials with."""
    if params.sweep.scheduler != "asha":
        return
    for row in ticks.read(folder):
        if KID in row and row["nimg"] < params.train.total_kimg * 1000:
            tune.report({**rung(folder.name, row), **more})


def member_number(trial_id: str) -> int:
    """Place of a trial of a grid among the others, the same in every attempt"""
    return int(trial_id.rpartition("_")[2])


def _member(params: Params, drawn: Drawn, job: Job) -> Path:
    """Train a member of a population from where its checkpoint points to"""
    number = member_number(tune.get_context().get_trial_id())
    folder = job.state / fingerprint(params.sweep, job.name, str(number), sections=())
    nimg, begin = _pointed_to()
    total, interval = round(params.train.total_kimg * 1000), round(params.sweep.pbt_interval_kimg * 1000)
    await_predecessor(folder)
    row: ticks.Row = {}
    with exclusive(folder), publishing(journal := Journal(folder), params.tracking):
        dataset = open_training_set(job.root / ARCHIVE, params)
        record_training(journal, params, dataset.digest)
        _tag(journal, drawn, job)
        while nimg < total:
            nimg = min((nimg // interval + 1) * interval, total)
            row, begin = _segment(params, nimg, begin, journal, job)
            numbers = {name: float(value) for name, value in drawn.items() if isinstance(value, int | float)}
            journal.metrics(nimg, {f"pbt/{name}": value for name, value in numbers.items()})
            if nimg < total:
                with tempfile.TemporaryDirectory() as pointer:
                    write_json(Path(pointer) / POINTER, {"nimg": nimg, "url": begin})
                    checkpoint = tune.Checkpoint.from_directory(pointer)
                    tune.report(rung(folder.name, row) | {"rung_nimg": nimg}, checkpoint=checkpoint)
        assert begin is not None, "a trial has at least one segment"
        export(_checkpoint(begin), folder)
        _write_trained(params, dataset.digest, row, folder, journal)
    return folder


def _pointed_to() -> tuple[int, str | None]:
    """Position and address of the state to go on from; 0 and None at the beginning"""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return 0, None
    with checkpoint.as_directory() as folder:
        pointer = json.loads((Path(folder) / POINTER).read_text())
    return int(pointer["nimg"]), str(pointer["url"])


def _segment(params: Params, end_nimg: int, begin: str | None, journal: Journal, job: Job) -> tuple[ticks.Row, str]:
    """Train until end_nimg, or find that done, and return the last row and the address of the last checkpoint."""
    train = params.train.model_copy(update={"total_kimg": end_nimg / 1000})
    params = params.model_copy(update={"train": train})
    dataset = open_training_set(job.root / ARCHIVE, params)
    origin = (
        "" if begin is None else "/".join(begin.partition("?")[0].split("/")[-3:])
    )  # wherever the state of runs lies
    name = fingerprint(params, dataset.digest, code_digest(), origin, sections=TRAINED_SECTIONS)
    folder = journal.folder / "segments" / name
    done = folder / "done.json"
    if not done.exists():
        await_predecessor(folder)
        pretrained, assets = pretrained_file(params, job.root), (job.root / "assets").absolute()
        start_from = [] if begin is None else [_checkpoint(begin)]
        result = fit(params, dataset, pretrained, assets, Journal(folder), start_from=start_from)
        assert result.checkpoint is not None, "train() ends with a snapshot"
        state = workers.run_state(params.cluster, folder)
        url = store.join(state, "checkpoints", Path(result.checkpoint.path).name)
        write_json(done, {"row": result.metrics, "checkpoint": url, "began_with": begin})
    found = json.loads(done.read_text())
    for row in ticks.read(folder):
        journal.metrics(round(row["nimg"]), {key: row[key] for key in row if key not in ("nimg", "kimg")})
    return found["row"], found["checkpoint"]


def _checkpoint(url: str) -> Checkpoint:
    fs, path = store.filesystem(url)
    return Checkpoint(path, fs)


def _write_trained(params: Params, archive_sha256: str, row: ticks.Row, folder: Path, journal: Journal) -> None:
    nimg = round(row["nimg"])
    trained = {
        "fingerprint": folder.name, "archive_sha256": archive_sha256, "resume_from": None, "snapshot": "last",
        "cur_nimg": nimg, "trained_nimg": nimg, "seed": params.train.seed,
    }  # fmt: skip
    train_json.write(folder, trained)
    record_export(journal, trained)
    journal.artifact(folder / EXPORTED)
    journal.status("FINISHED")


def _tag(journal: Journal, drawn: Drawn, job: Job) -> None:
    """Mark the run as a trial; a run may belong to several sweeps, and shows the last."""
    journal.tags({"sweep": job.name, "sweep_record": "trial", "sweep_trial": described(drawn)})


def _record(params: Params, drawn: Drawn, content: Mapping[str, Any], folder: Path, job: Job) -> None:
    """Record the measurement with the run, and each psi as a run of its own, which parallel coordinates can show."""
    _tag(Journal(folder), drawn, job)
    record_measurement(params, folder, content, job.root)
    for row in content["truncation"]:
        point = Journal(folder / "points" / f"{folder.name}-psi-{row['psi']:g}")
        with publishing(point, params.tracking):
            _record_point(point, row, drawn, content["cur_nimg"], job)


def _record_point(point: Journal, row: Row, drawn: Drawn, nimg: int, job: Job) -> None:
    point.params({**drawn, "psi": row["psi"]})
    point.tags({"sweep": job.name, "sweep_record": "psi", "sweep_trial": described(drawn)})
    point.summary(nimg, {f"eval/{metric}": row[metric] for metric in metric_names(row)})
    point.status("FINISHED")
