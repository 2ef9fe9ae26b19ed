"""A run's model on a real server, served by `mlflow models serve` where only its own requirements are installed."""

import base64
import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from pipelines.params import Params, TrackingConfig
from pipelines.tracking import ui
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import Publisher, fetch_generator
from pipelines.tracking.recording import record_model
from pipelines.tracking.registry import requirements
from stylegan.__main__ import main as stylegan
from stylegan.checkpoint import save_generator
from stylegan.files import sha256_of
from stylegan.networks import Generator
from tests.evaluation_results import results, write_train_record

pytestmark = [pytest.mark.slow, pytest.mark.long]

NAME, START_SEC = "photos-16-aaaaaaaa", 240.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, which ends with the block"""
    with subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True) as process:
        yield process
        os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrackingConfig]:
    """A server that keeps artifacts in a place of its own, as one on another machine does."""
    monkeypatch.setattr(ui, "START_SEC", START_SEC)
    uri = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts"), "--port", uri[-5:].strip(":"), "--workers", "1"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    for server in running(command, tmp_path, environment):
        ui.wait_until_up(uri, server)
        yield TrackingConfig(uri=uri, experiment="tests", system_metrics=False)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """The folder of commands of an environment with what the model requires, as links, and not this project."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    (packages,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    for name in needed(requirements()):
        distribution = importlib.metadata.distribution(name)
        tops = {Path(file).parts[0] for file in distribution.files or [] if Path(file).parts[0] not in ("..", "bin")}
        for top in tops - {"__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(Path(str(distribution.locate_file(top))))
    commands = tmp_path / "venv/bin"
    for module in ("mlflow", "uvicorn"):
        script = f"#!{commands}/python\nimport runpy\nrunpy.run_module({module!r}, run_name='__main__')\n"
        (commands / module).write_text(script)
        (commands / module).chmod(0o755)
    return commands


def needed(wanted: list[str]) -> set[str]:
    """Names of the packages that these requirements bring, as installed here"""
    found, waiting = set[str](), [(Requirement(text).name, frozenset(Requirement(text).extras)) for text in wanted]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        try:
            asked = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another system
        found.add(name)
        for each in map(Requirement, asked):
            markers = [{"extra": extra} for extra in ("", *extras)]
            if each.marker is None or any(each.marker.evaluate(marker) for marker in markers):
                item = (each.name, frozenset(each.extras))
                if item not in seen:
                    seen.add(item)
                    waiting.append(item)
    return found


def post(address: str, body: object) -> tuple[int, bytes]:
    request = urllib.request.Request(
        address, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def await_answer(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SEC
    while True:
        assert process.poll() is None
        assert time.monotonic() < deadline
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)


def test_mlflow_serves_a_runs_model_from_a_remote_store_where_only_its_requirements_are(
    tmp_path: Path, tiny_params: Params, tracking: TrackingConfig, clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "runs/abc"
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=2).eval()
    save_generator(G, folder / "models/generator.safetensors", ["dark", "light"])
    write_train_record(folder)
    digest = sha256_of(folder / "models/generator.safetensors")
    params = tiny_params.model_copy(
        update={"prepare": tiny_params.prepare.model_copy(update={"source": "photos"}), "tracking": tracking}
    )
    journal = Journal(folder)
    record_model(journal, folder, tmp_path, params, results(kid=0.2, generator_sha256=digest))
    assert Publisher(journal, tracking, tmp_path).publish(at_once=True) == 1
    fetched = fetch_generator(f"models:/{NAME}/1", tracking, tmp_path, tmp_path)
    assert sha256_of(fetched) == digest

    address = f"http://127.0.0.1:{free_port()}"
    environment = {
        "PATH": f"{clean}:/usr/bin:/bin", "HOME": str(tmp_path), "MLFLOW_TRACKING_URI": str(tracking.uri),
        "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }  # fmt: skip
    look = [str(clean / "python"), "-c", "import importlib.util as u; print(u.find_spec('stylegan'))"]
    assert subprocess.run(look, check=True, env=environment, cwd=tmp_path, stdout=subprocess.PIPE).stdout == b"None\n"
    command = [
        str(clean / "mlflow"),
        "models",
        "serve",
        "--model-uri",
        f"models:/{NAME}@best",
        "--env-manager",
        "local",
    ]
    command += ["--host", "127.0.0.1", "--port", address.rpartition(":")[2]]
    for process in running(command, tmp_path, environment):
        await_answer(f"{address}/health", process)
        rows = [{"seed": 7, "psi": 0.7, "class": "light"}, {"seed": 8, "class": "0"}]
        status, body = post(f"{address}/invocations", {"dataframe_records": rows})
        assert status == 200, body
        pngs = [base64.b64decode(row["png"]) for row in json.loads(body)["predictions"]]
        refused, reason = post(f"{address}/invocations", {"dataframe_records": [{"seed": -1, "class": "0"}]})
        assert (refused, b"seed -1: expected a whole number from 0 to 4294967295" in reason) == (400, True)
    for seed, psi, label in ((7, "0.7", "light"), (8, "1", "dark")):
        assert stylegan(["generate", str(folder / "models/generator.safetensors"), f"--seeds={seed}", f"--psi={psi}",
                         f"--class={label}", "--out", str(tmp_path / "images")]) == 0  # fmt: skip
    assert pngs == [(tmp_path / f"images/seed000{seed}.png").read_bytes() for seed in (7, 8)]
