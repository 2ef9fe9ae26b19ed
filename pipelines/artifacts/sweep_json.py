"""reports/sweep/results.json: what became of every trial of a sweep, and which row is the best."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from pipelines.artifacts import artifact
from pipelines.artifacts.artifact import Artifact, Values
from pipelines.artifacts.metrics_json import Truncation
from stylegan.metrics.evaluation.metric import distance_of

FILE = "results.json"


class SeedRun(Values):
    """What one training of a trial reached."""

    seed: int  # train.seed
    run: str  # its fingerprint
    truncation: tuple[Truncation, ...]


class Trial(Values):
    """What became of a trial."""

    drawn: Mapping[str, Any]  # dotted parameter -> its value
    run: str  # fingerprint of its first run; empty where it failed before it had one
    status: Literal["measured", "stopped", "failed"]
    kimg: float
    kid: float | None  # what it was judged by: monitor/kid of its last snapshot, the mean over its runs
    truncation: tuple[Truncation, ...] = ()  # means over the runs with their standard deviation; of one run, its own
    runs: tuple[SeedRun, ...] = ()  # that were measured, one per seed
    problem: str | None = None  # what a failed trial said last

    def distances(self, psi: float) -> list[float]:
        """The distance of each run at one psi"""
        rows = [row for run in self.runs for row in run.truncation if row.psi == psi]
        return [distance_of(row.metrics).value for row in rows]


class Best(Values):
    """The row with the lowest mean distance, by luck or not: see sweep/findings.py."""

    run: str
    psi: float


class SweepResults(Artifact):
    """What a sweep found."""

    noun: ClassVar = "the results of a sweep"
    command: ClassVar = "make sweep"

    version: Literal[2] = 2
    trials: tuple[Trial, ...]
    best: Best

    @model_validator(mode="after")
    def _best_is_one_of_them(self) -> Self:
        measured = {(trial.run, row.psi) for trial in self.trials for row in trial.truncation if row.metrics}
        if (self.best.run, self.best.psi) not in measured:
            raise ValueError("best is not a measured row of a trial")
        return self


class Stopped(Artifact):
    """The mark of a trial that the scheduler has ended before its time."""

    noun: ClassVar = "the mark of a stopped trial"
    command: ClassVar = "make sweep"

    version: Literal[1] = 1
    nimg: int
    kid: float


def best_of(trials: Sequence[Trial]) -> tuple[Trial, Truncation]:
    """The trial and psi of the lowest mean distance; of equals the higher psi"""
    candidates = [(trial, row) for trial in trials for row in trial.truncation]
    return min(candidates, key=lambda pair: (distance_of(pair[1].metrics).value, -pair[1].psi))


def read(folder: Path) -> SweepResults:
    """Raises FileNotFoundError, or ArtifactError for another version or a damaged file."""
    return artifact.read(SweepResults, folder / FILE)


def write(folder: Path, trials: Sequence[Trial]) -> None:
    """Write what became of the trials of a sweep, of which at least one was measured."""
    trial, row = best_of(trials)
    artifact.write(folder / FILE, SweepResults(trials=tuple(trials), best=Best(run=trial.run, psi=row.psi)))


def read_stopped(path: Path) -> Stopped:
    """Raises FileNotFoundError, or ArtifactError for another version or a damaged file."""
    return artifact.read(Stopped, path, artifact.IN_RUNS)


def write_stopped(path: Path, mark: Stopped) -> None:
    """Mark a trial as stopped."""
    artifact.write(path, mark)
