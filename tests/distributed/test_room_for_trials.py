"""More trials than have room: under a real Ray they wait for their turn, and none fails."""

import csv
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray import tune
from ray.cluster_utils import Cluster

from pipelines.cluster import connection
from pipelines.params import Params
from pipelines.sweep import space, tuner
from pipelines.sweep.job import Job
from pipelines.sweep.room import Room
from pipelines.sweep.standing import Standing

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(1200)]

NUM_TRIALS = 8
TARGETS = [0.1 * (i + 1) for i in range(NUM_TRIALS)]
SWEEP = (
    f"sweep.space=[{{parameter: augment.ada_target, draw: grid, values: {TARGETS}}}, "
    "{parameter: evaluate.truncation_psi, draw: grid, values: [1.0]}]",
    "sweep.searcher=grid", "sweep.scheduler=none", f"sweep.max_concurrent_trials={NUM_TRIALS}",
    "sweep.workers_per_trial=1", "sweep.gpus_per_worker=0.0", "sweep.total_kimg=0.016", "evaluate.metrics=[kid]",
)  # fmt: skip
LINE = f"there is room for 2 trials at once, of sweep.max_concurrent_trials {NUM_TRIALS}; the others wait"
Make = Callable[..., Params]


def trial(config: dict[str, Any], job: Job) -> None:
    """Note when it starts and ends, and train nothing."""
    for mark in "+-":
        with (job.state / "marks").open("a") as file:
            file.write(mark)
        time.sleep(2)
    tune.report({"run": "a", "nimg": 16, "rung_nimg": 16, "kid": 1.0})


@pytest.mark.long
def test_no_more_trials_start_than_the_machine_has_room_for(
    tmp_path: Path, make_params: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    half = math.ceil(max(os.cpu_count() or 1, 2) / 2)
    params = make_params(*SWEEP, f"sweep.cpus_per_worker={float(half)}")
    monkeypatch.setattr(tuner, "train_trial", trial)
    drawn = space.drawn_before(params.sweep)
    assert drawn is not None
    cluster, job = space.of_trial(params, drawn[0]).cluster, Job(params, tmp_path, tmp_path, "a")
    ledger = tuner.Ledger(job, Standing(NUM_TRIALS, 0.064))
    with connection.connect(cluster):
        found = tuner.run_trials(job, drawn, Room(params.sweep, cluster, None), ledger)
    assert [each.error for each in found] == [None] * NUM_TRIALS
    marks = (tmp_path / "marks").read_text()
    running = [marks[:i].count("+") - marks[:i].count("-") for i in range(len(marks) + 1)]
    assert (max(running), running[-1]) == (2, 0)
    assert capsys.readouterr().out.count(LINE) == 1


@pytest.fixture
def address() -> Iterator[str]:
    """Of a cluster of two cores"""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        yield cluster.address
        cluster.shutdown()


@pytest.mark.cluster
def test_a_sweep_of_eight_trials_on_a_cluster_that_has_room_for_two_ends_with_eight(
    address: str, tmp_path: Path, repository: Path, tiny_archive: Path, make_params: Make
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "archive.zip").write_bytes(tiny_archive.read_bytes())
    params = make_params(*SWEEP, "sweep.cpus_per_worker=1.0", f"cluster.address={address}", "train.total_kimg=0.016")
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    environment = os.environ | {"PYTHONPATH": str(repository), "DVC_ROOT": str(tmp_path), "MLFLOW_TRACKING_URI": ""}
    sweep = subprocess.run(
        [sys.executable, "-m", "pipelines.sweep"], cwd=tmp_path, env=environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert sweep.returncode == 0, sweep.stdout
    assert sweep.stdout.count(LINE) == 1
    with (tmp_path / "reports" / "sweep" / "table.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["measured"] * NUM_TRIALS
