"""A real MLflow server that dies and comes back, and processes that meet a fresh database: nothing lost or twice."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from pipelines.cluster.connection import connect
from pipelines.params import Params, TrackingConfig
from pipelines.tracking import ui
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import Publisher, TrackingError, initialise
from stylegan.images import encode_png

pytestmark = [
    pytest.mark.slow,
]

STEPS = range(1000, 6000, 1000)
Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture
def start(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start the server on the port; every server ends with the test."""
    monkeypatch.setattr(ui, "START_SEC", 240.0)  # a busy machine took more than a user would wait
    servers: list[subprocess.Popen[bytes]] = []
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts"), "--port", str(port), "--workers", "1"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}

    def launch() -> subprocess.Popen[bytes]:
        # Its own group, so that a kill takes the workers along, as the death of a machine would.
        servers.append(subprocess.Popen(command, env=environment, cwd=tmp_path, start_new_session=True))
        ui.wait_until_up(f"http://127.0.0.1:{port}", servers[-1])
        return servers[-1]

    yield launch
    for server in servers:
        kill(server)


def kill(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_a_server_that_dies_and_returns_ends_with_every_step_once(tmp_path: Path, port: int, start: Start) -> None:
    png = encode_png(torch.zeros(3, 4, 4, dtype=torch.uint8))
    uri = f"http://127.0.0.1:{port}"
    tracking = TrackingConfig(uri=uri, experiment="tests", system_metrics=False)
    journal = Journal(tmp_path / "runs/abc")
    publisher = Publisher(journal, tracking, tmp_path)
    journal.params({f"p{i}": i for i in range(150)})  # more than params.yaml has
    server = start()
    assert publisher.publish() == 1
    for step in STEPS:
        if step == 3000:
            kill(server)
        journal.metrics(step, {"loss/G": step / 1e3})
        journal.image("samples/ema", step, png)
        if step < 3000:
            assert publisher.publish() == 2
        else:
            with pytest.raises(TrackingError):
                publisher.publish()
    start()
    resumed = Journal(journal.folder)
    for step in STEPS[2:]:  # training resumes from an older checkpoint and repeats its steps
        resumed.metrics(step, {"loss/G": step / 1e3})
    assert publisher.publish() == 6
    assert Publisher(resumed, tracking, tmp_path).publish() == 0

    client, experiment_id = initialise(uri, "tests", tmp_path)
    (run,) = client.search_runs([experiment_id])
    points = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss/G")]
    assert sorted(points) == [(step, step / 1e3) for step in STEPS]
    assert len(run.data.params) == 150
    files = [file.path for file in client.list_artifacts(run.info.run_id, "images") if file.path.endswith(".png")]
    assert len(files) == len(STEPS)


def test_processes_that_meet_a_fresh_database_together_all_record(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from pipelines.params import TrackingConfig\n"
        "from pipelines.tracking.journal import Journal; from pipelines.tracking.publisher import Publisher\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "tracking = TrackingConfig(uri=None, experiment='tests', system_metrics=False)\n"
        "journal = Journal(root / 'runs' / sys.argv[2]); journal.metrics(1, {'a': 1.0})\n"
        "print(Publisher(journal, tracking, root).publish())\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), name], env=environment, cwd=tmp_path, stdout=subprocess.PIPE
        )
        for name in ("first", "second", "third")
    ]
    assert [process.communicate()[0] for process in processes] == [b"1\n"] * 3
    client, experiment_id = initialise(f"sqlite:///{tmp_path}/mlflow.db", "tests", tmp_path)
    assert {run.info.run_name for run in client.search_runs([experiment_id])} == {"first", "second", "third"}


def record(folder: Path) -> dict[str, str]:
    """As a trial on a node: record a number, and say which variables were there"""
    tracking = TrackingConfig(uri=None, experiment="tests", system_metrics=False)
    (journal := Journal(folder / "runs/abc")).metrics(1, {"loss/G": 1.0})
    Publisher(journal, tracking, folder).publish()
    return {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_TRACKING_")}


def test_trials_on_a_joined_cluster_write_to_the_server_that_the_callers_variables_name(
    tmp_path: Path, port: int, start: Start, tiny_params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    start()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        named = {
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}", "MLFLOW_TRACKING_USERNAME": "ada",
            "MLFLOW_TRACKING_PASSWORD": "p@ss/w%rd:1",
        }  # fmt: skip
        for name, value in named.items():  # after the nodes have started
            monkeypatch.setenv(name, value)
        with connect(tiny_params.cluster.model_copy(update={"address": cluster.address})):
            assert ray.get(ray.remote(record).remote(tmp_path)) == named
    finally:
        cluster.shutdown()
    client, experiment_id = initialise(named["MLFLOW_TRACKING_URI"], "tests", tmp_path)
    assert [run.info.run_name for run in client.search_runs([experiment_id])] == ["abc"]
