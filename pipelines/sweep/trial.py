"""One trial of a sweep: for each seed an ordinary run (runs/<fingerprint>/), trained as by the stage `train`.

Each is measured at every psi. A trial runs in a process that reserves nothing; the workers that it starts hold its
share of the machine. A finished run is found again by its fingerprint, an unfinished one resumes. The record of each
(trial, psi) lies in runs/<fingerprint>/points/. With population based training see population.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ray import tune

from pipelines.artifacts import metrics_json, ticks, train_json
from pipelines.artifacts.artifact import IN_RUNS
from pipelines.artifacts.metrics_json import MetricsReport, Truncation
from pipelines.artifacts.train_json import is_finished
from pipelines.diagnosis.between_runs import over_runs
from pipelines.experiments import await_predecessor, evaluated, record_measurement
from pipelines.params import Params, seeds_from
from pipelines.sweep.job import MEASURED, Job, Rungs, rung, tag, tell
from pipelines.sweep.population import train_member
from pipelines.sweep.space import Drawn, described, of_trial
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import publishing
from pipelines.train import inputs_of, run_experiment
from stylegan.metrics.evaluation.metric import distance_of


@dataclass(frozen=True)
class Measured:
    """One training of a trial, measured."""

    seed: int
    folder: Path
    evaluation: str  # name of its folder below evaluations/
    report: MetricsReport

    @property
    def judged(self) -> float:
        """What searchers compare trials by: KID of the last snapshot, as of those that were stopped

        Without it (snapshots are not scored, or a population trained) the lowest distance, which all trials then have.
        """
        kids = [row.monitor.kid for row in ticks.read(self.folder) if row.monitor.kid is not None]
        return kids[-1] if kids else min(distance_of(row.metrics).value for row in self.report.truncation)


def train_trial(config: Mapping[str, Any], job: Job) -> None:
    """A whole trial, in a process of Tune; its last report is its end.

    A scheduler judges, and may stop, the training of the first seed; the others follow where it reached its end.
    """
    params = of_trial(job.params, drawn := dict(config["drawn"]))
    found: list[Measured] = []
    for seed in seeds_from(params.sweep.seeds, params.train.seed):
        seeded = params.model_copy(update={"train": params.train.model_copy(update={"seed": seed})})
        folder = _again(seeded, drawn, job, len(found)) if found else _first(seeded, drawn, job)
        if folder is None:
            return
        found.append(_measure(seeded, drawn, folder, job))
    _record_points(found, drawn, job)
    measured = {MEASURED: [[each.seed, each.folder.name, each.evaluation] for each in found]}
    first = found[0].folder
    _tell_rungs(first, params, measured)
    judged = fmean(each.judged for each in found)
    nimg = train_json.read(first, IN_RUNS).trained_nimg
    tune.report({"run": first.name, "nimg": nimg, "kid": judged, "distance": judged, **measured})


def _measure(params: Params, drawn: Drawn, folder: Path, job: Job) -> Measured:
    """Measure a run that has reached its end, and record that with it"""
    evaluation = evaluated(params, folder, job.root, job.state)
    report = metrics_json.read(evaluation / "metrics.json", IN_RUNS)
    tag(Journal(folder), drawn, job)
    record_measurement(params, folder, report, job.root)
    return Measured(params.train.seed, folder, evaluation.name, report)


def _again(params: Params, drawn: Drawn, job: Job, runs_before: int) -> Path:
    """Train with a further seed, or find the finished run"""
    folder = inputs_of(params, job.root, job.state).fixed_folder
    await_predecessor(folder)
    if is_finished(folder):
        return folder
    tag(Journal(folder), drawn, job)
    return run_experiment(params, job.root, job.state, tell=tell(job, drawn, runs_before))


def _first(params: Params, drawn: Drawn, job: Job) -> Path | None:
    return train_member(params, drawn, job) if params.sweep.scheduler == "pbt" else _ordinary(params, drawn, job)


def _ordinary(params: Params, drawn: Drawn, job: Job) -> Path | None:
    """Train, or find the finished run; None for one that the scheduler has stopped"""
    folder = inputs_of(params, job.root, job.state).fixed_folder
    await_predecessor(folder)
    mark = job.stopped(folder.name)
    if is_finished(folder) and not mark.exists():
        return folder
    _tell_rungs(folder, params, {})
    if mark.exists():
        return None
    tag(Journal(folder), drawn, job)
    callback = Rungs(folder.name, round(params.train.total_kimg * 1000))
    return run_experiment(params, job.root, job.state, [callback], tell=tell(job, drawn))


def _tell_rungs(folder: Path, params: Params, more: Mapping[str, Any]) -> None:
    """Tell what a scheduler, which knows nothing of an earlier attempt, compares other trials with."""
    if params.sweep.scheduler != "asha":
        return
    for row in ticks.read(folder):
        if row.monitor.kid is not None and row.nimg < params.train.total_kimg * 1000:
            tune.report({**rung(folder.name, row), **more})


def _record_points(found: Sequence[Measured], drawn: Drawn, job: Job) -> None:
    """Record each psi, over all seeds, as a run of its own, which parallel coordinates can show."""
    first, repeated = found[0].folder, f"-{len(found)}-seeds" if len(found) > 1 else ""
    for row in over_seeds([each.report.truncation for each in found]):
        point = Journal(first / "points" / f"{first.name}{repeated}-psi-{row.psi:g}")
        with publishing(point, job.params.tracking):
            point.params({**drawn, "psi": row.psi})
            point.tags({"sweep": job.name, "sweep_record": "psi", "sweep_trial": described(drawn)})
            point.tags({"sweep_seeds": len(found)})
            point.title(f"psi {row.psi:g} of {described(drawn)}")
            nimg = found[0].report.cur_nimg or 0
            point.summary(nimg, {f"eval/{metric.name}": metric.value for metric in row.metrics})
            deviations = {f"eval/{metric.name}_sd": metric.sd for metric in row.metrics if metric.sd is not None}
            point.summary(nimg, deviations)
            point.status("FINISHED")


def over_seeds(sweeps: Sequence[Sequence[Truncation]]) -> tuple[Truncation, ...]:
    """Mean and standard deviation of each number at each psi over the runs of a trial"""
    return tuple(
        Truncation(psi=rows[0].psi, metrics=over_runs([row.metrics for row in rows]))
        for rows in zip(*sweeps, strict=True)
    )
