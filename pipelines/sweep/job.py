"""What the trials of a sweep share, and what they tell of themselves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.train import Checkpoint
from ray.tune.integration.ray_train import TuneReportCallback

from pipelines.artifacts.ticks import TickRow
from pipelines.params import Params
from pipelines.sweep.space import Drawn, described
from pipelines.tracking.journal import Journal
from pipelines.train import is_snapshot

Rung = dict[str, str | int | float]  # a report to Tune
MEASURED = "measured"  # key of a report of a trial whose runs are all measured


@dataclass(frozen=True)
class Job:
    """What all trials of a sweep share."""

    params: Params
    root: Path  # of archive, weights and pretrained networks
    state: Path  # runs/
    name: str  # of the sweep
    counter: Any = None  # Counter of images by trial, an actor

    def stopped(self, run_name: str) -> Path:
        """The mark of a trial that the scheduler has ended before its time"""
        return self.state / "sweeps" / self.name / "stopped" / run_name


class Rungs(TuneReportCallback):  # type: ignore[misc]
    """Tells Tune the KID of every snapshot but the last, whose number is that of the whole trial."""

    def __init__(self, run_name: str, total_nimg: int) -> None:
        super().__init__()
        self.run_name, self.total_nimg = run_name, total_nimg

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:
        if checkpoint is None or not is_snapshot(Path(checkpoint.path).name):
            return  # a tick, the images of a run that has not begun, or what is saved when a node is called back
        row = TickRow.of(metrics[0])
        if row.nimg < self.total_nimg and row.monitor.kid is not None:
            super().after_report(run_context, [rung(self.run_name, row)], None)


def tell(job: Job, drawn: Drawn, runs_before: int = 0) -> Callable[[int], None]:
    """What tells the sweep how many images a trial has trained on, those of its runs with earlier seeds among them"""
    before = runs_before * round(1000 * job.params.sweep.total_kimg)
    return lambda nimg: job.counter.report.remote(described(drawn), before + nimg)


def rung(run_name: str, row: TickRow) -> Rung:
    """What a scheduler and a searcher learn of a snapshot; the end of a trial has no rung_nimg"""
    nimg, kid = round(row.nimg), row.monitor.kid
    assert kid is not None, "a snapshot of a sweep is measured"
    return {"run": run_name, "nimg": nimg, "rung_nimg": nimg, "kid": kid, "distance": kid}


def was_stopped(last: Mapping[str, Any]) -> bool:
    """Whether the last report of a trial is of a snapshot: a scheduler ended it before its time"""
    return "rung_nimg" in last and MEASURED not in last


def tag(journal: Journal, drawn: Drawn, job: Job) -> None:
    """Mark the run as a trial; a run may belong to several sweeps, and shows the last."""
    journal.tags({"sweep": job.name, "sweep_record": "trial", "sweep_trial": described(drawn)})
    journal.title(f"trial {described(drawn)}")
