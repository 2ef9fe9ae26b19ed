"""A real cluster that a node joins: workers wait for it in words, and a measurement that runs is left alone."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from pipelines.cluster import capacity
from pipelines.cluster.capacity import await_room, refuse_impossible, telling
from pipelines.cluster.connection import connect
from pipelines.cluster.workers import on_workers
from pipelines.params import ClusterConfig, Params

pytestmark = [pytest.mark.distributed, pytest.mark.long, pytest.mark.timeout(600)]

RAY_LOOKS_SEC = 60  # for room to grow, unless it is told otherwise
Join = Callable[..., None]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
        yield cluster
        cluster.shutdown()


@pytest.fixture
def join(cluster: Cluster) -> Iterator[Join]:
    """join("--num-cpus=1") adds a node, from any thread"""
    started: list[subprocess.Popen[bytes]] = []

    def start(*resources: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={cluster.address}", "--block"]
        started.append(subprocess.Popen([*command, "--disable-usage-stats", *resources], stdout=subprocess.DEVNULL))

    yield start
    for process in started:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
        process.wait()


def test_workers_wait_for_a_gpu_in_words_and_begin_when_a_node_brings_it(
    cluster: Cluster, join: Join, tiny_params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "SAY_SEC", 1.0)
    asked: ClusterConfig = tiny_params.cluster.model_copy(update={"address": cluster.address, "use_gpu": True})
    refuse_impossible(asked)  # not judged by this machine
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:  # repeated, and then a node comes
            join("--num-cpus=1", "--num-gpus=1")

    with connect(asked):
        with telling(asked, lines.append):
            time.sleep(3.5)
        assert len(lines) in (1, 2)  # nothing is placed, which is said from the second look on
        lines.clear()
        await_room(asked, say)
        assert ray.cluster_resources()["GPU"] == 1
        line = (
            "waiting for 1 GPU, 1 CPU (1 worker); the cluster has 0 GPUs, 2 CPUs on 1 node, of which 0 GPUs, 2 CPUs "
            "are free. Its nodes cannot hold that: it starts when another joins, from an autoscaler or `ray start`."
        )
        assert lines[:2] == [line, line]
        await_room(asked, say)  # what it asked for was given back
        assert not capacity.placed(ray.util.placement_group_table().values(), asked)


def test_a_node_that_joins_begins_no_measurement_again(
    cluster: Cluster, join: Join, tiny_params: Params, tmp_path: Path
) -> None:
    elastic = {"address": cluster.address, "num_workers": (1, 2), "cpus_per_worker": 2}  # the head has room for one
    begun = tmp_path / "begun"

    def measure(sec: float) -> str:
        with begun.open("a") as file:
            file.write("x")
        while ray.cluster_resources()["CPU"] < 4:
            time.sleep(0.5)
        time.sleep(sec)
        return "measured"

    def join_later() -> None:
        while not begun.exists():
            time.sleep(0.1)
        join("--num-cpus=2")

    asked = tiny_params.cluster.model_copy(update=elastic)
    threading.Thread(target=join_later, daemon=True).start()
    with connect(asked):
        found = on_workers(measure, RAY_LOOKS_SEC + 15, asked, "evaluate")
    assert (found, begun.read_text()) == ("measured", "x")
