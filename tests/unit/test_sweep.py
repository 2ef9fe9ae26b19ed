"""What a sweep writes of what it found, how its commands are read, and where to look at it."""

import csv
import importlib.util
import io
import json
import sys
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from PIL import Image
from ray import tune
from ray.exceptions import ActorDiedError
from ray.train import Checkpoint
from ray.tune.integration.ray_train import TuneReportCallback

from pipelines.artifacts import metrics_json, sweep_json
from pipelines.artifacts.sweep_json import SeedRun, Trial
from pipelines.artifacts.ticks import TickRow
from pipelines.cluster.capacity import CapacityError
from pipelines.params import ROOT, ClusterConfig, Params, load
from pipelines.sweep import __main__ as sweep
from pipelines.sweep import findings, plots, scheduler, search, space, trial, tuner
from pipelines.sweep.job import MEASURED, Job, Rungs, rung
from pipelines.sweep.plots import Point
from pipelines.sweep.standing import Standing
from pipelines.sweep.trial import over_seeds
from pipelines.tracking import publisher
from pipelines.tracking.journal import Journal
from pipelines.train import snapshot_name
from stylegan.config import ConfigError
from tests.evaluation_results import evaluation_results, truncation, write_train_record
from tests.tick_rows import ticks

Make = Callable[..., Params]


def measured(target: float, kids: dict[float, float]) -> Trial:
    rows = tuple(
        truncation(psi, {"kid_efflite0": kid, "precision_efflite0": 0.9 - psi / 2, "recall_efflite0": psi / 2})
        for psi, kid in kids.items()
    )
    drawn = {"augment.ada_target": target}
    return Trial(drawn=drawn, run=f"run{target}", status="measured", kimg=40.0, kid=0.5, truncation=rows)


FOUND = [
    measured(0.4, {1.0: 0.7, 0.5: 0.6}),
    measured(0.6, {0.5: 0.3, 1.0: 0.3}),
    Trial(drawn={"augment.ada_target": 0.7}, run="run0.7", status="stopped", kimg=20.0, kid=1.25),
    Trial(
        drawn={"augment.ada_target": 0.8},
        run="",
        status="failed",
        kimg=0.0,
        kid=None,
        problem="TrainError: not | finite",
    ),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, tiny_params: Params) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "sweep"
    findings.write(FOUND, tiny_params, folder, {})
    return folder


def test_the_table_has_a_row_for_each_trial_and_psi_and_for_each_trial_that_was_not_measured(written: Path) -> None:
    with (written / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["augment.ada_target"], row["psi"], row["kid_efflite0"]) for row in rows] == [
        ("0.4", "0.5", "0.6"), ("0.4", "1.0", "0.7"), ("0.6", "0.5", "0.3"), ("0.6", "1.0", "0.3"),
        ("0.7", "", ""), ("0.8", "", ""),
    ]  # fmt: skip
    assert [(row["status"], row["kimg"], row["monitor/kid"], row["problem"]) for row in rows[4:]] == [
        ("stopped", "20.0", "1.25", ""), ("failed", "0.0", "", "TrainError: not | finite"),
    ]  # fmt: skip


def test_the_best_is_the_lowest_distance_and_of_equals_the_higher_psi(written: Path) -> None:
    trial, row = sweep_json.best_of(FOUND)
    assert (trial.drawn, row.psi) == ({"augment.ada_target": 0.6}, 1.0)
    assert yaml.safe_load((written / "best.yaml").read_text()) == {
        "augment": {"ada_target": 0.6}, "render": {"truncation_psi": 1.0},
    }  # fmt: skip
    assert findings.summary(FOUND).split("\n") == [
        "best: augment.ada_target 0.6 at psi 1 (KID 0.3), run run0.6",
        "One seed per trial cannot tell whether the best row is better than others or lucky.",
        "stopped: augment.ada_target 0.7 at kimg 20",
        "failed: augment.ada_target 0.8: TrainError: not | finite",
    ]


def test_of_one_seed_nothing_is_bold(written: Path) -> None:
    text = (written / "table.md").read_text()
    head, rule, *rows = text.splitlines()[:8]
    assert head.startswith("| run | status | kimg | augment.ada_target | seeds | psi | kid_efflite0 |")
    assert {line.replace("\\|", "").count("|") for line in (head, rule, *rows)} == {head.count("|")}
    assert "**" not in text
    assert rows[3].startswith("| run0.6 | measured | 40 | 0.6 | 1 | 1 | 0.3 |")
    assert "One seed per trial cannot tell" in text
    assert "# One seed per trial cannot tell" in (written / "best.yaml").read_text()


def seeded(target: float, kids: list[float]) -> Trial:
    """A trial with a run for each KID"""
    runs = tuple(
        SeedRun(seed=seed, run=f"run{target}-{seed}", truncation=(truncation(1.0, {"kid_efflite0": kid}),))
        for seed, kid in enumerate(kids)
    )
    means = over_seeds([run.truncation for run in runs])
    return Trial(
        drawn={"augment.ada_target": target}, run=runs[0].run, status="measured", kimg=40.0, kid=0.5, truncation=means,
        runs=runs,
    )  # fmt: skip


def test_with_seeds_a_trial_is_worse_only_beyond_the_spread_between_its_runs(
    tmp_path: Path, tiny_params: Params
) -> None:
    found = [seeded(0.4, [0.30, 0.31, 0.32]), seeded(0.6, [0.31, 0.33, 0.35]), seeded(0.8, [0.60, 0.62, 0.64])]
    findings.write(found, tiny_params, tmp_path, {"trials": "http://127.0.0.1:5000/#/trials"})
    text = (tmp_path / "table.md").read_text()
    assert text.endswith("\nIn MLflow (after `make ui`): [trials](http://127.0.0.1:5000/#/trials)\n")
    assert "(KID 0.31, sd 0.01), run run0.4-0" in text
    assert "Within the spread between trainings of the best row at psi 1: augment.ada_target 0.6." in text
    assert "**" not in text, "one of the others may be as good"
    with (tmp_path / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seeds"], row["kid_efflite0_sd"], row["verdict"]) for row in rows] == [
        ("3", "0.01", ""), ("3", "0.02", ""), ("3", "0.02", "worse"),
    ]  # fmt: skip
    kept = sweep_json.read(tmp_path).trials[2]
    assert (kept.distances(1.0), [run.seed for run in kept.runs]) == ([0.60, 0.62, 0.64], [0, 1, 2])


def test_a_trial_that_all_others_are_worse_than_is_bold(tmp_path: Path, tiny_params: Params) -> None:
    findings.write([seeded(0.4, [0.30, 0.31, 0.32]), seeded(0.8, [0.60, 0.62, 0.64])], tiny_params, tmp_path, {})
    text = (tmp_path / "table.md").read_text()
    assert next(line for line in text.splitlines() if "**" in line).startswith("| **run0.4-0** |")
    assert "Every other trial is worse at psi 1 by more than the spread between trainings." in text


@pytest.mark.parametrize("name", ["target", "frontier", "parallel"])
def test_charts_are_pictures(written: Path, name: str) -> None:
    with Image.open(written / f"{name}.png") as picture:
        assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 8, "nothing is drawn"


def points(*trials: Trial) -> list[Point]:
    return [Point(trial.run, trial.drawn, at) for trial in trials for at in trial.truncation]


def test_charts_differ_with_what_was_found() -> None:
    found = points(measured(0.4, {1.0: 0.7, 0.5: 0.6}), measured(0.6, {0.5: 0.3, 1.0: 0.3}))
    changed = points(measured(0.4, {1.0: 0.49, 0.5: 0.36}), measured(0.6, {0.5: 0.09, 1.0: 0.09}))
    for draw in (plots.against_parameter, plots.parallel):
        assert draw(found, ["augment.ada_target"]) != draw(changed, ["augment.ada_target"])


def test_charts_take_words_wide_ranges_many_psi_and_a_single_trial() -> None:
    rows = [
        Point(str(i), {"augment.mode": mode, "loss.r1_gamma": gamma}, truncation(psi / 10, {"fid_x": 1.0}))
        for i, (mode, gamma) in enumerate([("ada", 0.01), ("none", 10.0)])
        for psi in range(11)
    ]  # fmt: skip
    names = ["augment.mode", "loss.r1_gamma"]
    for some in (rows, rows[:1]):
        pngs = [
            plots.against_parameter(some, names), plots.frontiers(some, names),
            plots.parallel(some, names), plots.against_parameter(some, names[:1]),
        ]  # fmt: skip
        assert all(Image.open(io.BytesIO(png)).size[0] > 300 for png in pngs)


def test_kimg_and_gpus_scale_the_sweep_and_what_is_written_out_goes_over_them(repository: Path) -> None:
    options = Namespace(kimg=200.0, gpus=8, seeds="3", overrides=["sweep.gpus_per_worker=0.5"])
    params = load(repository / "params.yaml", sweep.scaled(options))
    assert (params.sweep.total_kimg, params.sweep.max_concurrent_trials) == (200.0, 8)
    assert (params.sweep.cpus_per_worker, params.sweep.gpus_per_worker) == (1.0, 0.5)
    assert params.sweep.seeds == 3
    assert sweep.scaled(Namespace(kimg=None, gpus=None, seeds=None, overrides=[])) == []


def test_pbt_changes_values_within_their_ranges_only(make_params: Make) -> None:
    params = make_params(
        "sweep.space=[{parameter: augment.ada_target, draw: uniform, values: [0.2, 0.9]}, "
        "{parameter: augment.mode, draw: choice, values: [ada, none]}]"
    )
    changed = scheduler.within({"drawn": {"augment.ada_target": 1.08, "augment.mode": "ada"}}, params)
    assert changed == {"drawn": {"augment.ada_target": 0.9, "augment.mode": "ada"}}
    changed = scheduler.within({"drawn": {"augment.ada_target": 0.123456, "augment.mode": "ada"}}, params)
    assert changed["drawn"]["augment.ada_target"] == 0.2


@pytest.mark.parametrize("name", ["none", "asha", "pbt"])
def test_schedulers_judge_by_kid_at_images_seen(make_params: Make, name: str) -> None:
    params = make_params(
        f"sweep.scheduler={name}", "sweep.space=[{parameter: augment.ada_target, draw: grid, values: [0.4, 0.8]}]"
    )
    found = scheduler.scheduler(params)
    assert (found is None) == (name == "none")
    if found is not None:
        assert (found._time_attr, found._metric, found._metric_op) == ("rung_nimg", "kid", -1)


def test_without_optuna_the_remedy_is_named(make_params: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError) as caught:
        search.optuna_searcher(make_params(), [])
    assert str(caught.value) == (
        "sweep.searcher is optuna, which is not installed. Run `pip install optuna==5.0.0`, or set sweep.searcher to "
        "random."
    )


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="needs optuna: pip install -e '.[sweep]'")
def test_optuna_draws_again_what_it_drew_before_and_stays_in_the_ranges(make_params: Make) -> None:
    params = make_params(
        "sweep.space=[{parameter: augment.ada_target, draw: uniform, values: [0.2, 0.9]}]", "sweep.searcher=optuna"
    )
    searcher = search.optuna_searcher(params, [{"augment.ada_target": 0.321}])
    searcher.set_search_properties(None, None, {"drawn": search.domains(params)})
    drawn = [searcher.suggest(str(i))["drawn"]["augment.ada_target"] for i in range(3)]
    assert drawn[0] == 0.321
    assert all(0.2 <= value <= 0.9 for value in drawn)
    assert len(set(drawn)) == 3


@pytest.mark.parametrize("address", ["http://server:5000", ""])
def test_trials_write_where_the_console_says_whatever_their_own_root_is(
    address: str, make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    params = tuner.with_tracking_address(make_params("tracking.uri=null"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert publisher.tracking_uri(params.tracking, Path("/elsewhere")) == (address or f"sqlite:///{ROOT}/mlflow.db")


def test_a_sweep_waits_for_room_for_its_first_trial_no_longer_than_the_cluster_is_waited_for(
    make_params: Make, tmp_path: Path, tiny_archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "archive.zip").write_bytes(tiny_archive.read_bytes())
    waited: list[float] = []

    def await_room(cluster: ClusterConfig, section: str) -> None:
        waited.append(cluster.wait_hours)
        raise CapacityError("too long")

    monkeypatch.setattr(tuner.capacity, "await_room", await_room)
    monkeypatch.setattr(tuner.connection, "connect", lambda cluster: nullcontext())
    monkeypatch.setattr(tuner, "watching", lambda standing: nullcontext())
    monkeypatch.setattr(tuner, "announce", lambda *_: None)
    params = make_params("cluster.address=head:6379", "cluster.wait_hours=2", "sweep.gpus_per_worker=0.0",
                         "sweep.workers_per_trial=1", "sweep.searcher=grid", "sweep.scheduler=none")  # fmt: skip
    with pytest.raises(CapacityError):
        tuner.sweep(params, tmp_path, tmp_path / "runs", tmp_path)
    assert waited == [2]


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="needs optuna: pip install -e '.[sweep]'")
def test_optuna_takes_the_kid_of_a_stopped_trial_for_no_result(make_params: Make) -> None:
    """It is of a shorter training, and a higher KID than that of the end says nothing about the values."""
    from optuna.trial import TrialState

    params = make_params(
        "sweep.space=[{parameter: augment.ada_target, draw: uniform, values: [0.2, 0.9]}]", "sweep.searcher=optuna"
    )
    searcher: Any = search.optuna_searcher(params, [])
    searcher.set_search_properties(None, None, {"drawn": search.domains(params)})
    snapshot = rung("run", ticks([{"kimg": 4.0, "nimg": 4000.0, "monitor/kid": 0.9}])[0])
    for name in ("stopped", "finished"):
        searcher.suggest(name)
        searcher.on_trial_result(name, {**snapshot, "training_iteration": 1})
    searcher.on_trial_complete("stopped", {**snapshot, "training_iteration": 1})
    searcher.on_trial_complete("finished", {"distance": 0.4, "training_iteration": 2, MEASURED: [[0, "run", "e"]]})
    stopped, finished = searcher._ot_study.trials
    assert (stopped.state, stopped.intermediate_values) == (TrialState.PRUNED, {1: 0.9})
    assert (finished.state, finished.value) == (TrialState.COMPLETE, 0.4)


def test_only_snapshots_are_told_and_what_is_no_tick_ends_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(TuneReportCallback, "__init__", lambda self: None)
    monkeypatch.setattr(TuneReportCallback, "after_report", lambda self, context, found, checkpoint: told.extend(found))
    rungs, checkpoint = Rungs("run", 8000), Checkpoint("/nowhere/" + snapshot_name(4000))
    rungs.after_report(None, [{"nimg": 0.0, "samples": b"png"}], None)  # before the first step
    row = ticks([{"kimg": 4.0, "nimg": 4000.0, "monitor/kid": 0.9}])[0].columns
    rungs.after_report(None, [dict(row)], None)
    assert told == []
    rungs.after_report(None, [dict(row)], checkpoint)
    rungs.after_report(None, [{**row, "nimg": 8000.0}], checkpoint)  # the end is told with the whole trial
    assert told == [rung("run", TickRow.of(row))]


class Trials:
    """Trials whose trainings and evaluations are replaced by files."""

    def __init__(self, folder: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
        self.params, self.folder = params, folder
        self.reports: list[dict[str, Any]] = []
        self.trained: list[int] = []
        self.recorded: list[tuple[Any, ...]] = []
        monkeypatch.setattr(trial, "_ordinary", lambda params, drawn, job: self.train(params))
        monkeypatch.setattr(trial, "_again", lambda params, drawn, job, runs_before: self.train(params))
        monkeypatch.setattr(trial, "_measure", lambda params, drawn, folder, job: self.measure(params, folder))
        monkeypatch.setattr(trial, "publishing", lambda journal, tracking: nullcontext())
        monkeypatch.setattr(trial.tune, "report", self.reports.append)

    def train(self, params: Params) -> Path:
        out = self.folder / "runs" / f"seed{params.train.seed}"
        write_train_record(out)
        kids = {4.0: 0.9, 8.0: 0.4 + params.train.seed / 10}
        rows = ticks({"kimg": kimg, "nimg": 1000 * kimg, "monitor/kid": kid} for kimg, kid in kids.items())
        (out / "ticks.jsonl").write_text("".join(json.dumps(row.columns) + "\n" for row in rows))
        self.trained.append(params.train.seed)
        return out

    def measure(self, params: Params, folder: Path) -> trial.Measured:
        report = evaluation_results({"kid_x": 0.2 + params.train.seed / 10}, floor={}, untrained={})
        metrics_json.write(folder / "evaluations" / "e" / "metrics.json", report)
        return trial.Measured(params.train.seed, folder, "e", report)


def test_a_trial_trains_with_each_seed_and_is_judged_by_the_mean_kid_of_its_last_snapshots(
    tmp_path: Path, make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As stopped trials are, by snapshots; not by the evaluation, which has other images and another number of them."""
    params = make_params("sweep.seeds=3", "sweep.total_kimg=8")
    bench = Trials(tmp_path, params, monkeypatch)
    job = Job(params, tmp_path, tmp_path / "runs", "x")
    trial.train_trial({"drawn": {"augment.ada_target": 0.4}}, job)
    assert bench.trained == [0, 1, 2]
    assert bench.reports[-1]["distance"] == pytest.approx(0.5)
    assert bench.reports[-1]["kid"] == bench.reports[-1]["distance"]

    result = tune.Result(metrics=bench.reports[-1], checkpoint=None, error=None, path=None)
    found = tuner.found_of(result, {"augment.ada_target": 0.4}, job)
    assert (found.status, found.run, found.distances(1.0)) == ("measured", "seed0", pytest.approx([0.2, 0.3, 0.4]))
    (kid,) = found.truncation[0].metrics
    assert (kid.value, kid.sd) == (pytest.approx(0.3), pytest.approx(0.1))
    (point,) = (tmp_path / "runs" / "seed0" / "points").iterdir()
    summaries = [record["values"] for record, _ in Journal(point).read(0) if record["kind"] == "summary"]
    assert summaries == [{"eval/kid_x": kid.value}, {"eval/kid_x_sd": kid.sd}]


def test_a_trial_whose_process_was_lost_before_it_told_anything_is_known_by_what_it_took(
    tmp_path: Path, make_params: Make
) -> None:
    """Tune knows neither its settings nor a number of it then."""
    job = Job(make_params(), tmp_path, tmp_path / "runs", "x")
    ledger = tuner.Ledger(job, Standing(2, 0.016))
    drawn = {"augment.ada_target": 0.4}
    started = SimpleNamespace(trial_id="a_00001", config={"drawn": drawn})
    ledger.on_trial_start(0, [], started)
    ledger.on_trial_error(0, [], started)
    lost = tune.Result(metrics={"trial_id": "a_00001"}, checkpoint=None, error=ActorDiedError(), path=None)
    assert lost.config is None
    assert ledger.drawn_by(lost) == drawn
    assert ledger.standing.over == {"augment.ada_target 0.4"}
    ledger.forget([ledger.drawn_by(lost)])
    assert ledger.standing.over == set()
    found = tuner.found_of(lost, drawn, job)
    assert (found.status, found.drawn, found.run) == ("failed", drawn, "")


def test_a_population_has_one_seed(make_params: Make) -> None:
    params = make_params(
        "sweep.seeds=2", "sweep.scheduler=pbt", "sweep.total_kimg=1", "sweep.pbt_interval_kimg=0.5",
        "sweep.space=[{parameter: augment.ada_target, draw: grid, values: [0.4, 0.8]}]",
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"scheduler pbt trains one population\. Set sweep\.seeds to 1"):
        space.check(params)


def test_reason_is_the_last_line_of_what_came_through_ray() -> None:
    assert tuner.reason(ValueError("ray::train()\n  File x\npipelines.train.TrainError: too high\n\n")) == (
        "pipelines.train.TrainError: too high"
    )
    assert tuner.reason(ValueError()) == "ValueError"
