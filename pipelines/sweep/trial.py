"""One trial of a sweep: an ordinary run (runs/<fingerprint>/), trained as by the stage `train`, measured at every psi.

It runs in a process that reserves nothing; the workers that it starts hold its share of the machine. A finished trial
is found again by its fingerprint, an unfinished one resumes. The record of each (trial, psi) lies in
runs/<fingerprint>/points/. With population based training see population.py.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune

from pipelines.artifacts import metrics_json, ticks, train_json
from pipelines.artifacts.artifact import IN_RUNS
from pipelines.artifacts.metrics_json import MetricsReport, Truncation
from pipelines.artifacts.train_json import is_finished
from pipelines.experiments import await_predecessor, evaluated, record_measurement
from pipelines.params import Params
from pipelines.sweep.job import Job, Rungs, rung, tag, tell
from pipelines.sweep.population import train_member
from pipelines.sweep.space import Drawn, described, of_trial
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import publishing
from pipelines.train import inputs_of, run_experiment
from stylegan.metrics.evaluation.metric import distance_of


def train_trial(config: Mapping[str, Any], job: Job) -> None:
    """A whole trial, in a process of Tune; its last report is its end."""
    params = of_trial(job.params, drawn := dict(config["drawn"]))
    begin = train_member if params.sweep.scheduler == "pbt" else _ordinary
    folder = begin(params, drawn, job)
    if folder is None:
        return
    evaluation = evaluated(params, folder, job.root, job.state)
    report = metrics_json.read(evaluation / "metrics.json", IN_RUNS)
    _record(params, drawn, report, folder, job)
    found = {"evaluation": evaluation.name}
    _tell_rungs(folder, params, found)
    best = min(distance_of(row.metrics).value for row in report.truncation)
    nimg = train_json.read(folder, IN_RUNS).trained_nimg
    tune.report({"run": folder.name, "nimg": nimg, "kid": best, "distance": best, **found})


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


def _tell_rungs(folder: Path, params: Params, more: Mapping[str, str]) -> None:
    """Tell what a scheduler, which knows nothing of an earlier attempt, compares other trials with."""
    if params.sweep.scheduler != "asha":
        return
    for row in ticks.read(folder):
        if row.monitor.kid is not None and row.nimg < params.train.total_kimg * 1000:
            tune.report({**rung(folder.name, row), **more})


def _record(params: Params, drawn: Drawn, report: MetricsReport, folder: Path, job: Job) -> None:
    """Record the measurement with the run, and each psi as a run of its own, which parallel coordinates can show."""
    tag(Journal(folder), drawn, job)
    record_measurement(params, folder, report, job.root)
    for row in report.truncation:
        point = Journal(folder / "points" / f"{folder.name}-psi-{row.psi:g}")
        with publishing(point, params.tracking):
            _record_point(point, row, drawn, report.cur_nimg or 0, job)


def _record_point(point: Journal, row: Truncation, drawn: Drawn, nimg: int, job: Job) -> None:
    point.params({**drawn, "psi": row.psi})
    point.tags({"sweep": job.name, "sweep_record": "psi", "sweep_trial": described(drawn)})
    point.title(f"psi {row.psi:g} of {described(drawn)}")
    point.summary(nimg, {f"eval/{metric.name}": metric.value for metric in row.metrics})
    point.status("FINISHED")
