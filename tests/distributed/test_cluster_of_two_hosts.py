"""The commands of docs/clusters.md on two machines with an address and a home each, one of which loses its power.

Ray, ssh, rsync, DVC and MLflow are the real ones; only the machines are namespaces of this one.
"""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from pipelines.artifacts.ticks import read
from pipelines.params import Params
from tests.distributed.hosts import Host, Lab, unavailable

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(unavailable() is not None, reason=str(unavailable())),
]

NUM_TICKS = 60
PROJECT = (
    "infra", "pipelines", "stylegan", "pretrained", "weights", "dvc.yaml", ".dvc/config", ".dvcignore", ".gitignore",
    "requirements-assets.txt", "pyproject.toml", "constraints.txt", "Makefile",
)  # fmt: skip
ASSETS = ("assets/earth/bmng.jpg", "assets/efficientnet_lite0.safetensors", "assets/lpips_vgg16.safetensors")
BIN = Path(sys.executable).parent
SHARED = Path("/mnt/stylegan")


class Cluster:
    """A head, a worker, and the machine that its user sits at."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.head, self.worker, self.user = lab, *lab.hosts
        self.shared, self.project = lab.shared, folder
        self.log = open(os.environ.get("CLUSTER_LOG", folder / "log.txt"), "w")  # noqa: SIM115
        self._began = time.monotonic()

    def note(self, line: str) -> None:
        self.log.write(f"{time.monotonic() - self._began:6.1f} {line.rstrip()}\n")
        self.log.flush()

    def start(self, *command: str) -> tuple[Any, threading.Thread]:
        """Start a command of the user's in his checkout; every line of it is noted."""
        self.note(f"$ {' '.join(command)}")
        process = self.user.start("env", f"PATH={BIN}:{os.environ['PATH']}", *command, cwd=self.project)
        assert process.stdout is not None

        def follow() -> None:
            for line in process.stdout or ():
                self.note(line)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        return process, thread

    def wait(self, started: tuple[Any, threading.Thread]) -> None:
        process, thread = started
        process.wait()
        thread.join()
        process.stdout.close()
        assert process.returncode == 0, Path(self.log.name).read_text()[-6000:]

    def run(self, *command: str) -> None:
        """Run a command of the user's, which must succeed."""
        self.wait(self.start(*command))

    def until(self, condition: Callable[[], bool], seconds: float, process: Any = None) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, Path(self.log.name).read_text()[-6000:]
            assert process is None or process.poll() is None, Path(self.log.name).read_text()[-6000:]
            time.sleep(0.1)

    def ticks(self) -> list[float]:
        """nimg of the ticks logged so far"""
        return [row.nimg for folder in self.shared.glob("project/runs/*/driver.lock") for row in read(folder.parent)]


def trainers(host: Host) -> int:
    """Processes on the host that train"""
    return sum("RayTrainWorker" in line for line in host.commands())


def write_project(folder: Path, repository: Path, params: Params, hosts: list[Host]) -> None:
    """The user's checkout: code, tiny parameters, stand-ins for networks, and on-prem.yaml with the lab's addresses"""
    for name in PROJECT:
        source, target = repository / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    for name in ASSETS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("a stand-in that the random networks do not read")
    file = folder / "infra/ray/on-prem.yaml"
    config = yaml.safe_load(file.read_text())
    head, worker, _ = hosts
    config["provider"] |= {"head_ip": head.address, "worker_ips": [worker.address]}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": "~/.ssh/id_ed25519"}
    config |= {"min_workers": 1, "max_workers": 1}
    # This environment has everything already; a host shows one core, so that two workers need both hosts.
    config["setup_commands"] = [f"{command} {sys.prefix}" for command in config["setup_commands"]]
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        config[commands] = [command.replace("ray start", "ray start --num-cpus=1") for command in config[commands]]
    file.write_text(yaml.safe_dump(config, sort_keys=False, width=1000))


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory,
    make_params: Callable[..., Params],
    write_pictures: Callable[..., list[str]],
    repository: Path,
) -> Iterator[Cluster]:
    """Two hosts as `ray up` leaves them"""
    shared, folder = tmp_path_factory.mktemp("shared"), tmp_path_factory.mktemp("checkout")
    write_pictures(shared / "images", 24, size=16)
    params = make_params(
        f"prepare.source={SHARED}/images", "prepare.holdout_fraction=0.25", "train.batch_gpu=2",
        "train.snapshot_ticks=3", f"train.total_kimg={0.008 * NUM_TICKS}", "cluster.num_workers=2",
        f"cluster.storage_path={SHARED}/storage",
    )  # fmt: skip
    lab = Lab(tmp_path_factory.mktemp("lab"), 3, shared)
    try:
        for host in lab.hosts:
            host.power_on()
        write_project(folder, repository, params, lab.hosts)
        cluster = Cluster(lab, folder)
        cluster.run("git", "init", "-q")
        cluster.run("dvc", "commit", "--force", "assets")
        cluster.run("ray", "get-auth-token", "--generate")
        cluster.run("ray", "up", "-y", "infra/ray/on-prem.yaml")
        cluster.until(lambda: any("raylet" in line for line in cluster.worker.commands()), 120)
        yield cluster
        cluster.run("ray", "down", "-y", "infra/ray/on-prem.yaml")
        cluster.log.close()
    finally:
        lab.close()


@pytest.fixture(scope="module")
def pipeline(cluster: Cluster) -> Cluster:
    """The whole pipeline, submitted; the worker loses power in mid-training and gets it back."""
    process, thread = cluster.start("ray", "submit", "infra/ray/on-prem.yaml", "pipelines/submit.py", "--", "render")
    cluster.until(lambda: len(cluster.ticks()) >= 7, 400, process)
    cluster.note(f"** trainers: head {trainers(cluster.head)}, worker {trainers(cluster.worker)}")
    assert (trainers(cluster.head), trainers(cluster.worker)) == (1, 1)
    cluster.worker.power_off()
    done = len(cluster.ticks())
    cluster.note(f"** power of the worker off at tick {done} of {NUM_TICKS}")
    assert done < NUM_TICKS, "too late to show anything"
    time.sleep(5)
    cluster.worker.power_on()
    cluster.note("** power of the worker on")
    cluster.until(lambda: len(cluster.ticks()) > done + 1, 300, process)
    cluster.note(f"** training again; trainers: head {trainers(cluster.head)}, worker {trainers(cluster.worker)}")
    cluster.wait((process, thread))
    return cluster


def test_a_power_cut_in_training_costs_no_tick_and_doubles_none(pipeline: Cluster) -> None:
    assert pipeline.ticks() == [8.0 * (index + 1) for index in range(NUM_TICKS)]


def test_metrics_and_report_come_back_to_the_user(pipeline: Cluster) -> None:
    pipeline.run("make", "fetch-report")
    metrics = json.loads((pipeline.project / "reports" / "metrics.json").read_text())
    assert set(metrics["metrics"]) >= {"kid_random", "precision_random", "recall_random"}
    assert metrics["cur_nimg"] == json.loads((pipeline.project / "models" / "train.json").read_text())["cur_nimg"]
    assert "<html" in (pipeline.project / "reports" / "index.html").read_text()
    assert (pipeline.project / "models" / "generator.safetensors").exists()


def test_mlflow_has_one_clean_run(pipeline: Cluster) -> None:
    client = MlflowClient(f"sqlite:///{pipeline.shared}/project/mlflow.db")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    pipeline.note(f"** MLflow: {[(run.info.run_name, run.info.status) for run in runs]}")
    (run,) = runs
    assert run.info.status == "FINISHED"
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "augment/p")]
    assert steps == [8 * (index + 1) for index in range(NUM_TICKS)]
    assert "kid_random" in " ".join(run.data.metrics)


def test_a_job_finds_nothing_left_to_do(pipeline: Cluster) -> None:
    """The way of submitting that outlives a lost connection."""
    job = f"ray job submit -- python {SHARED}/project/pipelines/submit.py render"
    pipeline.run("ray", "exec", "infra/ray/on-prem.yaml", job)
    output = Path(pipeline.log.name).read_text().partition(job)[2]
    assert "didn't change, skipping" in output
    assert "Running stage" not in output


def test_the_checkpoints_lie_where_both_hosts_see_them(pipeline: Cluster) -> None:
    assert list(pipeline.shared.glob("storage/*/checkpoints/nimg_*/state.safetensors"))
