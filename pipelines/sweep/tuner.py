"""A sweep, from where the command was given: Ray Tune is started, and what became of every trial is gathered."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayActorError

from pipelines.artifacts import metrics_json
from pipelines.artifacts.artifact import IN_RUNS
from pipelines.artifacts.sweep_json import SeedRun, Stopped, Trial, read_stopped, write_stopped
from pipelines.artifacts.workspace import ARCHIVE
from pipelines.cluster import capacity, connection, signals, store, workers
from pipelines.experiments import CURVES, save_views, tell_views
from pipelines.params import ClusterConfig, Params, seeds_from
from pipelines.sweep import findings, scheduler, search, space
from pipelines.sweep.job import MEASURED, Job, was_stopped
from pipelines.sweep.room import Room
from pipelines.sweep.standing import Standing, watching
from pipelines.sweep.trial import over_seeds, train_trial
from pipelines.tracking import publisher
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import publishing
from pipelines.tracking.views import View
from pipelines.train import exclusive, open_training_set
from stylegan.files import write_json
from stylegan.text import print_lines
from stylegan.wording import counted

_MEBIBYTE = 2**20


class SweepError(RuntimeError):
    """The sweep has no result; the message says what to do."""


def sweep(params: Params, root: Path, state: Path, reports: Path) -> list[Trial]:
    """Run or resume the sweep that `params` says, write its reports, and return its trials in their order.

    Raises ConfigError before anything is trained, SweepError when no trial was measured.
    """
    params = with_tracking_address(params)
    space.check(params)
    drawn = space.drawn_before(params.sweep)
    trials = [space.of_trial(params, values) for values in drawn or [{}]]
    capacity.refuse_impossible(trials[0].cluster, "sweep")
    archive = root / ARCHIVE
    job = Job(
        params, root.absolute(), state.absolute(), space.name_of(params, open_training_set(archive, params).digest)
    )
    num_trials = len(drawn) if drawn else params.sweep.num_trials
    num_seeds = len(seeds_from(params.sweep.seeds, params.train.seed))
    links = announce(params, job.name, num_trials, num_seeds)
    with exclusive(state / "sweeps" / job.name):
        ledger = Ledger(job, Standing(num_trials, params.sweep.total_kimg * num_seeds))
        if not drawn:
            search.optuna_searcher(params, [])  # refused at once where it is not installed
        with connection.connect(trials[0].cluster), watching(ledger.standing) as counter:
            limited = {"wait_hours": params.cluster.wait_hours}  # that of trials is for their turns
            capacity.await_room(trials[0].cluster.model_copy(update=limited), section="sweep")
            found = run_until_none_is_lost(replace(job, counter=counter), drawn, trials[0].cluster, ledger)
    for trial in found:
        conclude(trial, job)
    if not any(trial.truncation for trial in found):
        raise SweepError(f"no trial was measured. The first said: {found[0].problem or 'nothing'}")
    findings.write(found, params, reports, links)
    save_views(params.tracking, views(params, job.name, found))
    return found


def with_tracking_address(params: Params) -> Params:
    """The parameters with the tracking server that the console announces; trials on other nodes have another root"""
    tracking = params.tracking.model_copy(update={"uri": publisher.tracking_uri(params.tracking)})
    return params.model_copy(update={"tracking": tracking})


def run_until_none_is_lost(
    job: Job, drawn: list[space.Drawn] | None, cluster: ClusterConfig, ledger: "Ledger"
) -> list[Trial]:
    """Run every trial; those whose processes were lost, alone or with a node, resume with what they had reached.

    That happens up to cluster.max_failures times. A trial that failed by itself would fail again, and is left alone.
    """
    for attempt in itertools.count(1):
        searcher = None if drawn else search.optuna_searcher(job.params, ledger.drawn())
        results = run_trials(job, drawn, Room(job.params.sweep, cluster, searcher), ledger)
        lost = [result for result in results if isinstance(result.error, RayActorError)]
        if not lost or attempt > cluster.max_failures:
            break
        drawn_by = [ledger.drawn_by(result) for result in lost]
        names = "; ".join(map(space.described, drawn_by))
        print_lines(f"the processes of {counted(len(lost), 'trial')} were lost, and begin again: {names}")
        ledger.forget(drawn_by)
    return [found_of(result, ledger.drawn_by(result), job) for result in results]


def run_trials(job: Job, drawn: list[space.Drawn] | None, room: Room, ledger: "Ledger") -> list[tune.Result]:
    """Every trial, run by Tune: those drawn before, or what the searcher draws; finished ones are found again"""
    params = job.params
    with workers.scratch_storage(params.cluster) as url:
        storage, filesystem = store.for_ray(url)
        tuner = tune.Tuner(
            # Empty resources are refused; the workers reserve what they need, and `room` sees that they find it.
            tune.with_resources(tune.with_parameters(train_trial, job=job), {"CPU": 0, "memory": _MEBIBYTE}),
            param_space={"drawn": tune.grid_search(drawn) if drawn else search.domains(params)},
            tune_config=tune.TuneConfig(
                num_samples=1 if drawn else params.sweep.num_trials,
                scheduler=scheduler.scheduler(params),
                search_alg=room.search,
                reuse_actors=False,  # a trial that is stopped or paused still has its workers
            ),
            run_config=tune.RunConfig(
                name=f"sweep-{job.name}",
                storage_path=storage,
                storage_filesystem=filesystem,
                callbacks=[ledger, room],
                verbose=0,
            ),
        )
        try:
            results, stopped = signals.interruptible(tuner.fit, lambda: None, grace_sec=0)
        finally:
            room.close()
    if stopped is not None:
        stopped.reached = f"{ledger.standing.line()}; trials that have not ended resume from their last snapshots"
        raise stopped
    assert results is not None
    return list(results)


class Ledger(tune.Callback):  # type: ignore[misc]
    """Keeps what has been drawn and which trials were stopped, and tells of each."""

    def __init__(self, job: Job, standing: Standing) -> None:
        self.job, self.path = job, job.state / "sweeps" / job.name / "drawn.json"
        self.standing = standing
        self._drawn_by: dict[str, space.Drawn] = {}  # by the number that Tune gave a trial

    def drawn(self) -> list[space.Drawn]:
        """What trials took, in the order in which they began"""
        return list(json.loads(self.path.read_text())) if self.path.exists() else []

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        drawn = self._drawn_by[trial.trial_id] = dict(trial.config["drawn"])
        self.standing.began(space.described(drawn))
        print_lines(f"trial {space.described(drawn)}: started or resumed")
        if drawn not in (before := self.drawn()):
            write_json(self.path, [*before, drawn])

    def drawn_by(self, result: tune.Result) -> space.Drawn:
        """What a trial took; a result knows that only if the trial's process lived long enough to tell"""
        return self._drawn_by[(result.metrics or {})["trial_id"]]

    def forget(self, lost: Iterable[space.Drawn]) -> None:
        """These trials begin again."""
        self.standing.over -= {space.described(drawn) for drawn in lost}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if "rung_nimg" in result:
            place = f"kimg {result['nimg'] / 1000:g}, KID {result['kid']:.4g}"
            print_lines(f"trial {space.described(trial.config['drawn'])}: {place}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        last = trial.last_result or {}
        is_stopped = was_stopped(last)
        mark = self.job.stopped(str(last.get("run")))
        if is_stopped and not mark.exists():
            write_stopped(mark, Stopped(nimg=last["nimg"], kid=last["kid"]))
        self._end(trial, "stopped" if is_stopped else "measured")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial, "failed, the others continue")

    def _end(self, trial: Any, how: str) -> None:
        described = space.described(trial.config["drawn"])
        self.standing.ended(described)
        print_lines(f"trial {described}: {how}")
        print_lines(self.standing.line())


def found_of(result: tune.Result, drawn: space.Drawn, job: Job) -> Trial:
    """What became of a trial, from Tune's result and the run's folder"""
    last = dict(result.metrics or {})
    name, measured = str(last.get("run", "")), last.get(MEASURED)
    trial = Trial(
        drawn=drawn, run=name, status="failed", kimg=last.get("nimg", 0) / 1000, kid=last.get("kid"),
        problem=None if result.error is None else reason(result.error),
    )  # fmt: skip
    if trial.problem is not None:
        return trial
    if measured is None:
        mark = read_stopped(job.stopped(name))
        return trial.model_copy(update={"status": "stopped", "kimg": mark.nimg / 1000, "kid": mark.kid})
    runs = tuple(_seed_run(seed, run, evaluation, job) for seed, run, evaluation in measured)
    means = over_seeds([run.truncation for run in runs])
    return trial.model_copy(update={"status": "measured", "truncation": means, "runs": runs})


def _seed_run(seed: int, run: str, evaluation: str, job: Job) -> SeedRun:
    path = job.state / run / "evaluations" / evaluation / "metrics.json"
    return SeedRun(seed=seed, run=run, truncation=metrics_json.read(path, IN_RUNS).truncation)


def reason(error: BaseException) -> str:
    """The last line of an error that came through Ray, which is the one that says what to do"""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def conclude(trial: Trial, job: Job) -> None:
    """Close the record of a trial whose process could not do that, because it was ended."""
    if not trial.run or trial.status == "measured":
        return
    journal = Journal(job.state / trial.run)
    with publishing(journal, job.params.tracking):
        journal.tags({"sweep_outcome": trial.problem or f"stopped at kimg {trial.kimg:g}"})
        journal.status("FAILED" if trial.problem else "FINISHED")


def announce(params: Params, name: str, num_trials: int, num_seeds: int) -> Mapping[str, str]:
    """Say what begins and where to watch it  ->  addresses by name"""
    repeated = f" with {num_seeds} seeds each" if num_seeds > 1 else ""
    psis = ", ".join(f"{psi:g}" for psi in space.psis(params))
    print_lines(
        f"sweep {name}: {counted(num_trials, 'trial')} of {params.sweep.total_kimg:g} kimg{repeated}, measured at psi "
        f"{psis}"
    )
    return tell_views(params.tracking, views(params, name, []))


def views(params: Params, name: str, found: Sequence[Trial]) -> list[View]:
    """How MLflow shows the trials, each psi of them, and images of the same seeds"""
    trials, points = (f"tags.sweep = '{name}' and tags.sweep_record = '{record}'" for record in ("trial", "psi"))
    measured = next((trial.truncation[0].metrics for trial in found if trial.truncation), ())
    results = [f"eval/{metric.name}" for metric in measured]
    axes = [axis.parameter for axis in space.trained_axes(params.sweep)]
    return [
        View("trials", trials, key=f"{name}-trials", results=results, curves=CURVES),
        View("each psi", points, key=f"{name}-psi", axes=[*axes, "psi"], results=results),
        View("images", trials, key=f"{name}-images", mode="ARTIFACT"),
    ]
