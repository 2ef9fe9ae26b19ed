"""What the trials of a sweep share, and what they tell of themselves."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.train import Checkpoint
from ray.tune.integration.ray_train import TuneReportCallback

from pipelines.artifacts.ticks import TickRow
from pipelines.params import Params
from pipelines.sweep.space import Drawn, described
from pipelines.tracking.journal import Journal

Rung = dict[str, str | int | float]  # a report to Tune


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
        row = TickRow.of(metrics[0])
        if checkpoint is not None and row.nimg < self.total_nimg and row.monitor.kid is not None:
            super().after_report(run_context, [rung(self.run_name, row)], None)


def tell(job: Job, drawn: Drawn) -> Callable[[int], None]:
    """What tells the sweep how many images a trial has trained on"""
    return lambda nimg: job.counter.report.remote(described(drawn), nimg)


def rung(run_name: str, row: TickRow) -> Rung:
    """What a scheduler and a searcher learn of a snapshot; the end of a trial has no rung_nimg"""
    nimg, kid = round(row.nimg), row.monitor.kid
    assert kid is not None, "a snapshot of a sweep is measured"
    return {"run": run_name, "nimg": nimg, "rung_nimg": nimg, "kid": kid, "distance": kid}


def tag(journal: Journal, drawn: Drawn, job: Job) -> None:
    """Mark the run as a trial; a run may belong to several sweeps, and shows the last."""
    journal.tags({"sweep": job.name, "sweep_record": "trial", "sweep_trial": described(drawn)})
    journal.title(f"trial {described(drawn)}")
