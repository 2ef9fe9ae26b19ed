"""A sweep under a real Ray Tune: every trial once whatever is killed, and the schedulers do what they are for."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from benchmarks.faults.project import is_titled
from benchmarks.faults.sweeps import TRIAL
from pipelines.artifacts import ticks
from pipelines.params import Params

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.cluster,
    pytest.mark.timeout(1500),
]

Make = Callable[..., Params]
PSI = "{parameter: evaluate.truncation_psi, draw: grid, values: [0.5, 1.0]}"
SWEEP = (
    "sweep.searcher=grid", "sweep.scheduler=none", "sweep.max_concurrent_trials=2", "sweep.workers_per_trial=1",
    "sweep.cpus_per_worker=1.0", "sweep.gpus_per_worker=0.0", "sweep.total_kimg=0.064", "train.tick_kimg=0.008",
    "train.snapshot_ticks=1", "evaluate.metrics=[kid, pr]",
)  # fmt: skip
TARGETS = f"sweep.space=[{{parameter: augment.ada_target, draw: grid, values: [0.4, 0.8]}}, {PSI}]"


class Tree:
    """A work tree as `prepare` leaves it, in which sweeps run as a user starts them."""

    def __init__(self, folder: Path, repository: Path, archive: Path, params: Params) -> None:
        self.folder, self.repository = folder, repository
        (folder / "data").mkdir()
        (folder / "data" / "archive.zip").write_bytes(archive.read_bytes())
        (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))

    def start(self, *overrides: str) -> subprocess.Popen[str]:
        paths = os.pathsep.join([str(self.repository), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": paths, "DVC_ROOT": str(self.folder)}
        environment.pop("MLFLOW_TRACKING_URI", None)
        command = [sys.executable, "-m", "pipelines.sweep", *overrides]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def sweep(self, *overrides: str) -> str:
        with self.start(*overrides) as process:
            output, _ = process.communicate()
        assert process.returncode == 0, output
        return output

    def table(self) -> list[dict[str, str]]:
        with (self.folder / "reports" / "sweep" / "table.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    def runs(self) -> list[Path]:
        return sorted(path.parent for path in (self.folder / "runs").glob("*/driver.lock"))

    def ticks(self, run: Path) -> list[int]:
        return [round(json.loads(line)["nimg"]) for line in (run / "ticks.jsonl").read_text().splitlines()]


@pytest.fixture
def make_tree(tmp_path: Path, repository: Path, tiny_archive: Path, make_params: Make) -> Callable[..., Tree]:
    """make_tree(overrides...) -> a work tree with these parameters"""
    return lambda *overrides: Tree(tmp_path, repository, tiny_archive, make_params(*SWEEP, *overrides))


def test_a_sweep_killed_in_the_middle_and_run_again_has_every_trial_once(make_tree: Callable[..., Tree]) -> None:
    tree = make_tree(TARGETS, "sweep.max_concurrent_trials=1")
    process = tree.start()
    deadline = time.monotonic() + 600
    while len(tree.runs()) < 2 or not (tree.runs()[0] / "ticks.jsonl").exists():  # the second trial has begun
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    output = tree.sweep()
    rows = tree.table()
    assert [(float(row["augment.ada_target"]), float(row["psi"])) for row in rows] == [
        (0.4, 0.5), (0.4, 1.0), (0.8, 0.5), (0.8, 1.0),
    ]  # fmt: skip
    assert {row["status"] for row in rows} == {"measured"}
    assert len(tree.runs()) == 2
    for run in tree.runs():
        assert tree.ticks(run) == list(range(8, 65, 8))
        records = [json.loads(line) for line in (run / "tracking.jsonl").read_text().splitlines()]
        steps = [record["step"] for record in records if record["kind"] == "metrics"]
        assert sorted(set(steps)) == sorted(steps)
        assert len(list((run / "points").iterdir())) == 2
    best = yaml.safe_load((tree.folder / "reports" / "sweep" / "best.yaml").read_text())
    lowest = min(rows, key=lambda row: float(row["kid_random"]))
    assert best["augment"]["ada_target"] == float(lowest["augment.ada_target"])
    assert "trials (after `make ui`): http" in output
    check_mlflow(tree)


def test_a_trial_whose_process_is_killed_resumes_in_the_same_sweep(make_tree: Callable[..., Tree]) -> None:
    tree = make_tree(TARGETS, "sweep.total_kimg=0.4")
    with tree.start() as process:
        deadline = time.monotonic() + 600
        while len(tree.runs()) < 2 or not all(len(ticks.read(run)) > 2 for run in tree.runs()):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        children = psutil.Process(process.pid).children(recursive=True)
        max((child for child in children if is_titled(TRIAL, child)), key=lambda trial: trial.create_time()).kill()
        output, _ = process.communicate()
    assert process.returncode == 0, output
    assert output.count("the processes of 1 trial were lost, and begin again: augment.ada_target 0.") == 1
    assert {row["status"] for row in tree.table()} == {"measured"}
    assert len(tree.runs()) == 2
    for run in tree.runs():
        assert tree.ticks(run) == list(range(8, 401, 8))


def test_each_trial_trains_with_each_seed_and_counts_with_the_mean(make_tree: Callable[..., Tree]) -> None:
    space = f"sweep.space=[{{parameter: augment.ada_target, draw: grid, values: [0.4]}}, {PSI}]"
    tree = make_tree(space, "sweep.seeds=2", "sweep.total_kimg=0.016")
    output = tree.sweep()
    rows = tree.table()
    measured = [row for row in rows if row["status"] == "measured"]
    assert measured
    assert {row["seeds"] for row in measured} == {"2"}
    assert all(float(row["kid_random_sd"]) > 0 for row in measured)
    trials = json.loads((tree.folder / "reports" / "sweep" / "results.json").read_text())["trials"]
    runs = [run for trial in trials for run in trial["runs"]]
    assert {run["seed"] for run in runs} == {0, 1}
    assert len({run["run"] for run in runs}) == len(runs)
    assert "1 trial of 0.016 kimg with 2 seeds each" in output
    assert "Means of 2 trainings per trial" in output


def check_mlflow(tree: Tree) -> None:
    """Flat runs: one for each trial, one for each of its psi"""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tree.folder}/mlflow.db")
    (experiment,) = (found for found in client.search_experiments() if found.name != "Default")
    for record, count in (("trial", 2), ("psi", 4)):
        runs = client.search_runs([experiment.experiment_id], f"tags.sweep_record = '{record}'")
        assert len(runs) == count
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert {run.data.params["augment.ada_target"] for run in runs} == {"0.4", "0.8"}
        assert len({run.data.tags["sweep"] for run in runs}) == 1
    assert {run.data.params["psi"] for run in runs} == {"0.5", "1.0"}
    assert all("eval/kid_random" in run.data.metrics for run in runs)


def test_a_failed_trial_is_reported_and_the_others_finish(make_tree: Callable[..., Tree]) -> None:
    # A learning rate that spoils the weights at once.
    space = f"sweep.space=[{{parameter: train.g_lr, draw: grid, values: [1.0e+30, 0.0025]}}, {PSI}]"
    tree = make_tree(space)
    output = tree.sweep()
    failed, *measured = tree.table()
    assert failed["status"] == "failed"
    assert "not finite" in failed["problem"]
    assert [row["status"] for row in measured] == ["measured"] * 2
    assert "failed: train.g_lr 1e+30: " in output


def test_asha_stops_a_bad_trial_and_saves_its_compute(make_tree: Callable[..., Tree]) -> None:
    values = "[1.0e-3, 2.0e-3, 1.0e-4, 2.0e-4]"
    tree = make_tree(
        f"sweep.space=[{{parameter: train.g_lr, draw: grid, values: {values}}}, {PSI}]", "sweep.scheduler=asha",
        "sweep.asha_grace_kimg=0.008", "sweep.asha_reduction_factor=2.0", "sweep.total_kimg=0.4",
    )  # fmt: skip
    tree.sweep()
    stopped = [row for row in tree.table() if row["status"] == "stopped"]
    measured = {row["run"] for row in tree.table() if row["status"] == "measured"}
    assert stopped
    assert measured
    for row in stopped:
        assert tree.ticks(tree.folder / "runs" / row["run"])[-1] < 400, "it trained to the end"
    before = tree.table()
    tree.sweep()  # what was stopped stays stopped
    assert tree.table() == before


def test_members_of_a_population_go_on_from_the_state_of_better_ones(make_tree: Callable[..., Tree]) -> None:
    tree = make_tree(
        "sweep.space=[{parameter: loss.r1_gamma, draw: loguniform, values: [0.001, 10.0]}, "
        "{parameter: augment.ada_target, draw: uniform, values: [0.2, 0.9]}, " + PSI + "]",
        "sweep.searcher=random", "sweep.num_trials=2", "sweep.scheduler=pbt", "sweep.pbt_interval_kimg=0.032",
        "sweep.pbt_quantile=0.5", "sweep.total_kimg=0.064",
    )  # fmt: skip
    tree.sweep()
    table = tree.table()
    assert {row["status"] for row in table} == {"measured"}
    assert {row["kimg"] for row in table} == {"0.064"}
    copied = [
        (done, origin)
        for done in (tree.folder / "runs").glob("*/segments/*/done.json")
        if (origin := json.loads(done.read_text())["began_with"]) and not origin.startswith(str(done.parents[2]))
    ]
    assert copied, "no member took the state of another"
    for done, origin in copied:
        with_state = Path(origin)
        assert (with_state / "state.safetensors").exists()
        first = json.loads((done.parent / "ticks.jsonl").read_text().splitlines()[0])
        assert round(first["nimg"]) == round(json.loads((with_state / "tick.json").read_text())["nimg"])
    before = table
    tree.sweep()
    assert tree.table() == before


def test_optuna_draws_trials_and_a_second_run_draws_no_other(make_tree: Callable[..., Tree]) -> None:
    pytest.importorskip("optuna", reason="needs optuna: pip install -e '.[sweep]'")
    space = f"sweep.space=[{{parameter: loss.r1_gamma, draw: loguniform, values: [0.001, 10.0]}}, {PSI}]"
    tree = make_tree(space, "sweep.searcher=optuna", "sweep.num_trials=2", "sweep.max_concurrent_trials=1")
    tree.sweep()
    table = tree.table()
    assert {row["status"] for row in table} == {"measured"}
    assert len({row["run"] for row in table}) == len({row["loss.r1_gamma"] for row in table}) == 2
    tree.sweep()
    assert tree.table() == table
