"""A training whose state lives on S3, by a worker on another node: the machine that drives it dies, another goes on."""

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import ray
import torch
from pyarrow.fs import FileSelector
from ray.cluster_utils import Cluster

from pipelines.artifacts import ticks
from pipelines.cluster import store
from pipelines.cluster.connection import connect
from pipelines.cluster.store import StoreError
from pipelines.evaluate.trained import evaluate
from pipelines.params import Params
from pipelines.tracking import publisher
from pipelines.train import driver as stage
from pipelines.train.driver import run
from pipelines.train.identity import open_training_set
from pipelines.train.snapshots import STATE
from pipelines.train.ticklog import read_copy
from stylegan.checkpoint import load_networks
from stylegan.files import sha256_of
from stylegan.state import TrainState
from stylegan.train import train
from tests.s3 import serve

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.cluster,
]

Make = Callable[..., Params]
OVERRIDES = ("train.total_kimg=0.08", "train.tick_kimg=0.008", "train.snapshot_ticks=2", "augment.ada_kimg=0.2")
# A machine that trains until it is killed.
MACHINE = """
import sys
from pathlib import Path
from pipelines.params import Params
from pipelines.train import run
root = Path(sys.argv[1])
run(Params.model_validate_json((root / "params.json").read_text(), strict=False), root, root / "runs")
"""


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of work trees, which the other node of the cluster does not see"""
    return tmp_path_factory.mktemp("machines")


@pytest.fixture(scope="module")
def cluster(machines: Path) -> Iterator[Cluster]:
    """A node without a core for drivers, and one with a core that has neither their files nor their environment"""
    if os.geteuid() != 0:
        pytest.skip("needs root, to hide a folder from a node as if it were another machine")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    start = f"-m ray.scripts.scripts start --address={cluster.address} --num-cpus=1 --block --disable-usage-stats"
    hide = f"mount -t tmpfs none {machines} && exec {sys.executable} {start}"
    node = subprocess.Popen(["unshare", "--mount", "bash", "-c", hide], stdout=subprocess.DEVNULL)
    yield cluster
    ray.shutdown()
    end(node)
    cluster.shutdown()


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and all that it started."""
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        one.kill()
    process.wait()


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    with serve() as environment:
        yield environment


@pytest.fixture(autouse=True)
def user(cluster: Cluster, s3: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(stage, "publishing", partial(publisher.publishing, root=tmp_path))


@pytest.fixture
def machine(machines: Path, tiny_archive: Path) -> Callable[[str], Path]:
    """machine(name) -> the work tree of a machine as `prepare` leaves it"""

    def make(name: str) -> Path:
        (machines / name / "data").mkdir(parents=True)
        (machines / name / "data" / "archive.zip").write_bytes(tiny_archive.read_bytes())
        return machines / name

    return make


def die_in_the_middle(root: Path, params: Params) -> list[dict[str, float]]:
    """Train on a machine, kill it after some ticks  ->  its log, as the store has it"""
    (root / "params.json").write_text(params.model_dump_json())
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlflow.db", "PYTHONPATH": os.getcwd()}
    driver = subprocess.Popen([sys.executable, "-c", MACHINE, str(root)], env=environment)
    deadline = time.monotonic() + 120
    try:
        while len(rows := log_of(root)) < 3:
            assert driver.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline, "it does not train"
            time.sleep(0.05)
    finally:
        driver.kill()
        driver.wait()
    return rows


def log_of(root: Path) -> list[dict[str, float]]:
    folders = list((root / "runs").glob("*"))
    return [json.loads(line) for line in read_copy(f"s3://lab/runs/{folders[0].name}")] if folders else []


def uninterrupted(params: Params, archive: Path) -> tuple[dict[str, torch.Tensor], list[float]]:
    """G_ema and D after a training without Ray and without a stop, and their loss of each tick"""
    dataset = open_training_set(archive, params)
    state = TrainState.create(params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))
    losses = [tick.stats["loss/D"] for tick in train(state, dataset)]
    return named(state.G_ema.state_dict(), state.D.state_dict()), losses


def named(G_ema: dict[str, torch.Tensor], D: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"G_ema.{name}": t for name, t in G_ema.items()} | {f"D.{name}": t for name, t in D.items()}


def test_a_run_on_s3_goes_on_from_another_machine_and_ends_as_an_uninterrupted_one_here(
    cluster: Cluster, machine: Callable[[str], Path], make_params: Make, tmp_path: Path
) -> None:
    on_store = ("cluster.storage_path=s3://lab/runs", f"cluster.cache_path={tmp_path / 'cache'}")
    params = make_params(*OVERRIDES, *on_store, f"cluster.address={cluster.address}")
    died, other = map(machine, ("died", "other"))
    rows = die_in_the_middle(died, params)
    with connect(params.cluster):
        # Its worker is on the node that does not see this.
        local = params.model_copy(update={"cluster": params.cluster.model_copy(update={"storage_path": None})})
        with pytest.raises(StoreError, match=r"does not see what this machine writes there, so a run could not go on"):
            run(local, died, died / "unshared")
        folder = run(params, other, other / "runs")
    with (other / "reports" / "ticks.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    # Ticks before the death were not computed again, and their log is not lost with the machine.
    assert 3 <= len(rows) < len(table) == 10
    assert rows == ticks.read(folder)[: len(rows)]
    assert "checkpoints" not in {path.name for path in folder.iterdir()}
    assert (folder / "samples" / "000000080.png").exists()
    weights, losses = uninterrupted(params, other / "data" / "archive.zip")
    assert [float(row["loss/D"]) for row in table] == losses
    last = store.read(f"s3://lab/runs/{folder.name}/checkpoints/nimg_000000080/{STATE}")
    assert last is not None
    (tmp_path / STATE).write_bytes(last)
    networks = load_networks(tmp_path / STATE)
    found = named(networks.G_ema, networks.D)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    # The worker read its own copy of the archive.
    sha256 = sha256_of(other / "data" / "archive.zip")
    assert sha256_of(tmp_path / "cache" / sha256 / "archive.zip") == sha256

    # A node that sees no file of this machine measures the same, and leaves nothing on the store.
    on_store = evaluate(params, other, tmp_path / "features")
    here = params.model_copy(update={"cluster": make_params().cluster})
    assert evaluate(here, other, tmp_path / "features here") == on_store
    fs, bucket = store.filesystem("s3://lab/runs")
    assert {Path(entry.path).name for entry in fs.get_file_info(FileSelector(bucket))} == {"files", folder.name}
