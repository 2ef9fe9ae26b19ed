"""Real signals to real processes: the run goes on by itself, or by the same command, and ends as an undisturbed one.

Each takes about a minute, so they run when asked for: `pytest -m faults`.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from benchmarks.faults.project import Project, busy_node, finish, start_cluster
from pipelines.artifacts import ticks
from pipelines.train import ticklog

pytestmark = [
    pytest.mark.faults,
    pytest.mark.distributed,
    pytest.mark.timeout(600),
]

TRAIN = [sys.executable, "-m", "pipelines.train"]
LIMIT_SEC = 300
Running = "subprocess.Popen[str]"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run of two workers ends with"""
    project = Project(tmp_path_factory.mktemp("undisturbed"), command=TRAIN)
    assert finish(project, project.start(), LIMIT_SEC) == 0
    return project.outcome()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., tuple[Project, Running]]]:
    """make(override...) -> a project whose training has just written its first ticks, a snapshot usually among them"""
    started: list[Running] = []

    def start(*overrides: str) -> tuple[Project, Running]:
        project = Project(tmp_path / "project", overrides, TRAIN)
        source = project.folder / "pipelines" / "train" / "growth.py"
        text = source.read_text()
        assert "RESIZE_SEC = 60.0" in text
        source.write_text(text.replace("RESIZE_SEC = 60.0", "RESIZE_SEC = 3.0"))  # its training is short
        started.append(process := project.start())
        wait_for(lambda: list(project.folder.glob("runs/*/driver.lock")), project)
        wait_for(lambda: len(ticks.read(project.run())) > 5, project)
        assert process.poll() is None
        return project, process

    (tmp_path / "project").mkdir()
    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for(what: Callable[[], Any], project: Project, limit_sec: float = 120) -> Any:
    deadline = time.monotonic() + limit_sec
    while not (found := what()):
        assert time.monotonic() < deadline, (project.folder / "log.txt").read_text()[-3000:]
        time.sleep(0.05)
    return found


def failures(project: Project) -> list[str]:
    return ticklog.read_failures(project.run())


def measured(project: Project, since: float, process: Running) -> None:
    """Seconds from a fault to the next tick that is new, for the table in docs/reproducing.md"""
    before = len(ticks.read(project.run()))
    wait_for(lambda: process.poll() is not None or len(ticks.read(project.run())) > before + 1, project)
    print(f"\nrecovered after {time.monotonic() - since:.1f} s")


def test_sigkill_of_a_worker(make: Callable[..., tuple[Project, Running]], undisturbed: dict[str, Any]) -> None:
    project, process = make()
    project.workers()[-1].kill()
    measured(project, time.monotonic(), process)
    assert finish(project, process, LIMIT_SEC) == 0, "it goes on without a person"
    assert project.outcome() == undisturbed
    assert "rank " in failures(project)[0]


def test_sigkill_of_a_worker_between_snapshots_costs_the_ticks_since_the_last_checkpoint_alone(
    make: Callable[..., tuple[Project, Running]], undisturbed: dict[str, Any]
) -> None:
    project, process = make("train.snapshot_ticks=1000", "cluster.checkpoint_minutes=0.02")
    wait_for(lambda: list(project.folder.glob("runs/*/resume/*/checksums.json")), project)
    project.workers()[-1].kill()
    measured(project, time.monotonic(), process)
    assert finish(project, process, LIMIT_SEC) == 0
    assert project.outcome()["state.safetensors"] == undisturbed["state.safetensors"]
    found = re.search(r"resuming from kimg ([\d.]+)", (project.folder / "log.txt").read_text())
    assert found, "no snapshot was there to resume from"
    assert 0 < float(found[1]) < 0.96
    assert not (project.run() / "resume").exists(), "of no use after the end"


def test_sigkill_of_the_process_that_controls_the_workers(
    make: Callable[..., tuple[Project, Running]], undisturbed: dict[str, Any]
) -> None:
    project, process = make()
    (controller,) = project.controller()
    controller.kill()
    measured(project, time.monotonic(), process)
    assert finish(project, process, LIMIT_SEC) == 0, "it goes on without a person"
    assert project.outcome() == undisturbed
    assert "the process that controls the workers: " in (project.folder / "log.txt").read_text()


def test_sigkill_of_the_driver(make: Callable[..., tuple[Project, Running]], undisturbed: dict[str, Any]) -> None:
    project, process = make()
    process.kill()
    process.wait()
    process = project.start()
    measured(project, time.monotonic(), process)
    assert finish(project, process, LIMIT_SEC) == 0
    assert project.outcome() == undisturbed


@pytest.mark.parametrize("number", [0, 1])
def test_a_worker_that_hangs(
    number: int, make: Callable[..., tuple[Project, Running]], undisturbed: dict[str, Any]
) -> None:
    project, process = make("cluster.collective_timeout_sec=10")
    hangs = project.workers()[number]
    hangs.send_signal(signal.SIGSTOP)
    measured(project, time.monotonic(), process)
    assert finish(project, process, LIMIT_SEC) == 0
    assert project.outcome() == undisturbed
    assert any(" on " in failure for failure in failures(project)), failures(project)
    assert not hangs.is_running() or hangs.status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head for driver and controller, and two nodes of one CPU each"""
    # Environments of workers are those of their node.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "project"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "15")
    yield (cluster := start_cluster(num_nodes=2))
    cluster.shutdown()


def test_a_training_waits_for_nodes_in_words_and_then_goes_on(
    cluster: Cluster, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node, allow_graceful=False)
    (tmp_path / "project").mkdir()
    overrides = (f"cluster.address={cluster.address}", "cluster.max_failures=0")
    project = Project(tmp_path / "project", overrides, TRAIN)
    process = project.start()
    try:
        log, line = project.folder / "log.txt", "Its nodes cannot hold that: it starts when another joins"
        wait_for(lambda: log.read_text().count(line) >= 2, project)  # the second half a minute after the first
        assert "of which 0 GPUs, 0 CPUs are free. " in log.read_text()
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        assert finish(project, process, LIMIT_SEC) == 0
    finally:
        process.kill()
        process.wait()
    assert project.outcome() == undisturbed


def test_loss_of_a_node_with_a_spare_one(
    cluster: Cluster, make: Callable[..., tuple[Project, Running]], undisturbed: dict[str, Any]
) -> None:
    cluster.add_node(num_cpus=1)
    project, process = make(f"cluster.address={cluster.address}")
    cluster.remove_node(busy_node(cluster), allow_graceful=False)
    measured(project, time.monotonic(), process)
    assert finish(project, process, LIMIT_SEC) == 0
    assert project.outcome() == undisturbed


def test_loss_of_a_node_that_comes_back(
    cluster: Cluster, make: Callable[..., tuple[Project, Running]], undisturbed: dict[str, Any]
) -> None:
    """It waits longer than Ray would for its workers, and that is one failure."""
    project, process = make(f"cluster.address={cluster.address}", "cluster.max_failures=1")
    cluster.remove_node(busy_node(cluster), allow_graceful=False)
    start = time.monotonic()
    log, line = project.folder / "log.txt", "waiting for 2 CPUs (2 workers); the cluster has "
    wait_for(lambda: log.read_text().count(line) >= 2, project)  # the second half a minute after the first
    cluster.add_node(num_cpus=1)
    measured(project, start, process)
    lines = log.read_text().splitlines()
    assert any("Failure 1 of 1 without progress in between." in line for line in lines)
    assert finish(project, process, LIMIT_SEC) == 0
    assert project.outcome() == undisturbed


def test_a_node_that_is_called_back(
    cluster: Cluster, make: Callable[..., tuple[Project, Running]], undisturbed: dict[str, Any]
) -> None:
    """The notice of a spot instance: a checkpoint at once, and on elsewhere, without a failure to count."""
    project, process = make(f"cluster.address={cluster.address}", "cluster.max_failures=0", "train.snapshot_ticks=1000")
    cluster.add_node(num_cpus=1)
    node = busy_node(cluster)
    start = time.monotonic()
    subprocess.run(
        [Path(sys.executable).parent / "ray", "drain-node", "--address", cluster.address, "--node-id", node.node_id,
         "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot", "--deadline-remaining-seconds", "8"],
        check=True, capture_output=True,
    )  # fmt: skip
    wait_for(lambda: list(project.folder.glob("runs/*/checkpoints/leaving_*/tick.json")), project)
    print(f"\nsaved {time.monotonic() - start:.1f} s after the notice")
    assert finish(project, process, LIMIT_SEC) == 0
    found = project.outcome()
    assert (found["num_ticks"], found["steps"]) == (undisturbed["num_ticks"], undisturbed["steps"])
    assert found["state.safetensors"] == undisturbed["state.safetensors"]


def test_fewer_workers_and_more_again(cluster: Cluster, make: Callable[..., tuple[Project, Running]]) -> None:
    project, process = make(f"cluster.address={cluster.address}", "cluster.num_workers=[1, 2]", "train.total_kimg=4.8")

    def count() -> int:
        return len(ticklog.read_nodes(project.run()))

    wait_for(lambda: count() == 2, project)
    start = time.monotonic()
    cluster.remove_node(busy_node(cluster), allow_graceful=False)
    wait_for(lambda: count() == 1, project, 120)
    print(f"\n1 worker after {time.monotonic() - start:.1f} s, at {ticks.read(project.run())[-1].kimg} kimg")
    start = time.monotonic()
    cluster.add_node(num_cpus=1)
    wait_for(lambda: count() == 2, project, 180)
    print(f"2 workers after {time.monotonic() - start:.1f} s, at {ticks.read(project.run())[-1].kimg} kimg")
    assert process.poll() is None, "grown too late to show anything"
    assert finish(project, process, LIMIT_SEC) == 0
    rows = ticks.read(project.run())
    assert [row.nimg for row in rows] == [16.0 * (index + 1) for index in range(300)]
    assert {row.ranks.count or 1 for row in rows} == {1, 2}
    assert "there is room for more workers: Training goes on from kimg " in (project.folder / "log.txt").read_text()
    records = [json.loads(line) for line in (project.run() / "tracking.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if record["kind"] == "metrics"] == [row.nimg for row in rows]
    assert os.path.exists(project.folder / "models" / "generator.safetensors")
