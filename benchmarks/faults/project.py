"""A project in a folder of its own, whose processes are killed and whose files are damaged."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from ray.cluster_utils import Cluster
from safetensors.numpy import load_file

from pipelines.artifacts import ticks
from pipelines.params import load
from pipelines.prepare import prepare
from pipelines.tracking.journal import Journal
from pipelines.train.integrity import CHECKSUMS
from tests.conftest import TINY

REPOSITORY = Path(__file__).resolve().parents[2]
CODE = ("pipelines", "stylegan", "pretrained/README.md", "dvc.yaml", ".dvc/config", ".dvcignore", "weights/README.md")
WORKER = "RayTrainWorker"  # in the titles that Ray gives to processes
STAND_INS = ("assets/efficientnet_lite0.safetensors",)  # that the random extractor does not read
# Sixty ticks of two steps, a snapshot every fourth; p is adjusted every third step, so that snapshots hold signs.
RUN = (
    "train.batch_size=8", "train.batch_gpu=4", "train.tick_kimg=0.016", "train.total_kimg=0.96",
    "train.snapshot_ticks=4", "augment.p=0.2", "augment.ada_interval=3", "augment.ada_kimg=1", "cluster.num_workers=2",
    "cluster.max_failures=20", "monitor.num_images=4",
)  # fmt: skip
TIMING = ("sec", "sec_per_kimg", "memory_gb")
PAUSE_SEC = 1.0  # before a command that was refused is given again


def start_cluster(num_nodes: int) -> Cluster:
    """A Ray cluster on this machine: a head without a core, and nodes of one core each, in this environment"""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(num_nodes):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    return cluster


def busy_node(cluster: Cluster) -> Any:
    """A node that has a worker of the training, or None"""
    for node in list(cluster.worker_nodes):
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        if any(is_titled(WORKER, child) for child in raylet.children(recursive=True)):
            return node
    return None


@dataclass
class Project:
    """A folder with the train stage and its inputs, as `prepare` leaves them."""

    folder: Path
    overrides: tuple[str, ...] = ()
    command: list[str] = field(
        default_factory=lambda: [sys.executable, "-m", "dvc", "repro", "--single-item", "--force", "train"]
    )
    cluster: Cluster | None = None  # that `overrides` name

    def __post_init__(self) -> None:
        from PIL import Image

        for name in CODE:
            target = self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
            copy(REPOSITORY / name, target)
        for name in STAND_INS:
            (self.folder / name).parent.mkdir(parents=True)
            (self.folder / name).write_text("a stand-in")
        images = self.folder / "images"
        images.mkdir()
        for number in range(24):
            pixels = random.Random(number).randbytes(16 * 16 * 3)
            Image.frombytes("RGB", (16, 16), pixels).save(images / f"{number}.png")
        overrides = [*TINY, *RUN, f"prepare.source={images}", *self.overrides]
        params = load(REPOSITORY / "params.yaml", overrides)
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
        data = self.folder / "data"
        prepare(params.prepare, data / "archive.zip", data / "manifest.json", earth=self.folder / "none.jpg", workers=1)
        subprocess.run(["git", "init", "-q"], cwd=self.folder, check=True)

    def start(self) -> "subprocess.Popen[str]":
        """Give the command, in a session of its own"""
        environment = os.environ | {
            "DVC_NO_ANALYTICS": "true",
            "DVC_ROOT": str(self.folder),
            "DVC_SITE_CACHE_DIR": str(self.folder / ".site"),
            "MLFLOW_TRACKING_URI": "",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder),
        }
        with (self.folder / "log.txt").open("a") as log:
            return subprocess.Popen(
                self.command, cwd=self.folder, env=environment, start_new_session=True, text=True,
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def run(self) -> Path:
        """Folder of the only run. Raises ValueError if there is none."""
        (folder,) = (lock.parent for lock in self.folder.glob("runs/*/driver.lock"))
        return folder

    def driver(self) -> psutil.Process | None:
        """The process that trains"""
        try:
            process = psutil.Process(int((self.run() / "pid").read_text()))
            return process if process.status() != psutil.STATUS_ZOMBIE and _trains(process) else None
        except (ValueError, FileNotFoundError, psutil.NoSuchProcess):
            return None

    def workers(self) -> list[psutil.Process]:
        """The processes that the driver's Ray has for training, in the order of their start"""
        return self._of_ray(WORKER)

    def _of_ray(self, title: str) -> list[psutil.Process]:
        driver = self.driver()
        try:
            children = [] if driver is None else driver.children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return sorted((child for child in children if is_titled(title, child)), key=lambda process: process.pid)

    def controller(self) -> list[psutil.Process]:
        """The process of the driver's Ray that controls the workers, if there is one"""
        return self._of_ray("TrainController")

    def strike(self, kind: str, process: "subprocess.Popen[str]") -> bool:
        """SIGKILL what there is of a kind; False when there is nothing yet"""
        if kind == "node":
            node = None if self.cluster is None else busy_node(self.cluster)
            if node is not None:
                self.cluster.remove_node(node, allow_graceful=False)
                self.cluster.add_node(num_cpus=1)
            return node is not None
        driver = self.driver()
        targets = {
            "worker": self.workers(),
            "controller": self.controller(),
            "driver": [] if driver is None else [driver],
            "dvc": [psutil.Process(process.pid)],
        }[kind]
        if targets:
            targets[-1].kill()
        return bool(targets)

    def damage(self, draw: random.Random) -> str:
        """Cut a file of the newest snapshot, or change a byte of it, and return its name; empty if there is none yet"""
        whole = self.folder.glob(f"runs/*/checkpoints/nimg_*/{CHECKSUMS}")
        newest = max((path.parent for path in whole), default=None)
        if newest is None:
            return ""
        file = draw.choice(sorted(path for path in newest.iterdir() if path.stat().st_size))
        content = bytearray(file.read_bytes())
        place = draw.randrange(len(content))
        if draw.random() < 0.5:
            del content[place:]
        else:
            content[place] ^= 1 << draw.randrange(8)
        file.write_bytes(content)
        return f"{newest.name}/{file.name}"

    def forget(self) -> None:
        """Remove the run and what it made."""
        for name in ("runs", "models", "reports"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def outcome(self) -> dict[str, Any]:
        """All that has to be equal: state, generator, numbers of every tick, and the steps that the tracker has"""
        run = self.run()
        (state,) = (run / "checkpoints").glob(f"nimg_{round(1000 * float(self.total_kimg())):09d}/state.safetensors")
        generator = self.folder / "models" / "generator.safetensors"
        rows = numbers_of(run)
        records = [json.loads(line) for line in Journal(run).path.read_text().splitlines()]
        steps = [record["step"] for record in records if record["kind"] == "metrics"]
        return {
            **{file.name: digest(file) for file in (state, generator)},
            "train.json": (self.folder / "models" / "train.json").read_text(),
            "ticks": hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest(),
            "num_ticks": len(rows),
            "steps": steps,
        }

    def total_kimg(self) -> float:
        return load(self.folder / "params.yaml").train.total_kimg


def numbers_of(run: Path) -> list[dict[str, float]]:
    """What every tick has, but for what depends on the machine"""
    return [
        {name: value for name, value in row.columns.items() if name not in TIMING and not name.startswith("ranks/")}
        for row in ticks.read(run)
    ]


def digest(file: Path) -> str:
    """sha256 over the tensors of a file; the parameters next to them also say where it ran"""
    found = hashlib.sha256()
    for name, tensor in sorted(load_file(file).items()):
        found.update(name.encode() + tensor.tobytes())
    return found.hexdigest()


def _trains(process: psutil.Process) -> bool:
    return any("pipelines.train" in part for part in process.cmdline())


def is_titled(title: str, process: psutil.Process) -> bool:
    """Whether Ray has given a process this title"""
    try:
        return title in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def finish(project: Project, process: "subprocess.Popen[str]", limit_sec: float) -> int:
    """Give the same command until it succeeds, and return how often. Raises TimeoutError with the end of its output."""
    deadline, count = time.monotonic() + limit_sec, 0
    while process.wait(max(deadline - time.monotonic(), 0)) != 0:
        if time.monotonic() > deadline:
            raise TimeoutError((project.folder / "log.txt").read_text()[-3000:])
        time.sleep(PAUSE_SEC)
        process, count = project.start(), count + 1
    return count


def on_cluster(folder: Path) -> Project:
    """A project on a cluster of its own, which ends with this process"""
    os.environ |= {"PYTHONPATH": str(folder), "MLFLOW_TRACKING_URI": ""}  # environments of workers are their node's
    cluster = start_cluster(num_nodes=3)
    return Project(folder, (f"cluster.address={cluster.address}",), cluster=cluster)
