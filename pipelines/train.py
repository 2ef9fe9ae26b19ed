"""Stage `train`: archive -> models/generator.safetensors, models/train.json, reports/ticks.csv.

The run's state lives in runs/<fingerprint>/, outside DVC's outputs: killed at any moment, the same command resumes it,
and a changed parameter is another run. models/train.json:

    fingerprint       name of the run: hash of the parameters, the archive, the networks it starts from and the code
                      that decide its weights, and of the network that chooses its best snapshot
    archive_sha256    of data/archive.zip
    resume_from       null, or file, sha256 and report of the networks that training started from: every tensor loaded,
                      adapted, initialised or skipped, with the reason
    snapshot          best or last: which one is the generator (monitor.export)
    cur_nimg          real images shown to D until that snapshot
    trained_nimg      real images shown to D until the end of the run
    seed              train.seed
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from filelock import FileLock, Timeout
from ray.train import Checkpoint, Result, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer

from pipelines import follow, ticklog
from pipelines.artifacts import ticks, train_json
from pipelines.artifacts.workspace import EXPORTED, TICKS
from pipelines.cluster import connection, errors, files, store, workers
from pipelines.cluster.errors import named
from pipelines.cluster.nodes import here
from pipelines.cluster.store import StoreError
from pipelines.inputs import inputs_of, monitor_extractor, open_training_set
from pipelines.params import ROOT, Params, load
from pipelines.pretrained import rehearse, start
from pipelines.ranks import OWN, memory_gb, own
from pipelines.snapshots import chosen, contributions, export, report, resume, save_if_called_back, spare_checkpoints
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import publishing
from pipelines.tracking.recording import record_export, record_training
from stylegan.backends import prepare_device
from stylegan.checkpoint import CheckpointError
from stylegan.config import ConfigError
from stylegan.data import ArchiveError, ImageDataset
from stylegan.distributed import rank
from stylegan.files import sha256_of, write_json
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.extractors import EFFICIENTNET_FILE
from stylegan.metrics.names import KID
from stylegan.monitor import Monitor
from stylegan.networks import Generator
from stylegan.step import NonFiniteError
from stylegan.train import Tick, train


class TrainError(RuntimeError):
    """Training cannot start or go on; the message says what to do."""


def train_worker(job: dict[str, Any]) -> str | None:
    """One worker's whole life: build or resume the state, train, report every tick.

    Returns the message of a NonFiniteError: the same steps would fail again, so Ray must not retry.
    """
    params: Params = job["params"]
    torch.set_num_threads(params.cluster.cpus_per_worker)
    with named(), generation(job["folder"]):
        paths = {name: file.here() for name, file in job["files"].items()}
        dataset, device = open_training_set(paths["archive"], params), ray.train.torch.get_device()
        job["kernels"] = prepare_device(device, params.train.kernels, allow_tf32=params.train.allow_tf32)
        state, _ = start(params, dataset, paths.get("pretrained"), device)
        monitored = monitoring(params, dataset, paths.get("weights", Path()).parent, state.device)
        resume(state, dataset, job["spare_checkpoints"])
        clock, before, saved = time.perf_counter(), state.cur_nimg, False
        try:
            for tick in train(state, dataset):
                row = measure(tick, time.perf_counter() - clock, tick.cur_nimg - before, job)
                if tick.is_snapshot:
                    row |= contributions(state, dataset) | monitored(state.G_ema)
                report(state, dataset, row, is_snapshot=tick.is_snapshot)
                saved = saved or save_if_called_back(state, dataset, row)
                clock, before = time.perf_counter(), tick.cur_nimg
        except NonFiniteError as error:
            return str(error)
    return None


@contextmanager
def generation(folder: Path) -> Iterator[None]:
    """Wait until the workers of a killed driver are gone; they outlive it by some seconds."""
    if rank() == 0 and folder.exists():
        with FileLock(folder / "worker.lock"):
            yield
    else:
        yield


def monitoring(
    params: Params, dataset: ImageDataset, assets: Path, device: torch.device
) -> Callable[[Generator], ticks.Row]:
    """What measures the generator at a snapshot, on rank 0; its row is empty where nothing is measured"""
    extractor = monitor_extractor(params, dataset, assets)
    return (lambda G: {}) if extractor is None else Monitor.create(params, dataset, extractor.to(device)).measure


def measure(tick: Tick, sec: float, nimg: int, job: dict[str, Any]) -> dict[str, Any]:
    """What this rank reports of a tick: a row of the log, and what is its own"""
    train = job["params"].train
    row = {"nimg": float(tick.cur_nimg), "kimg": tick.cur_nimg / 1000}
    row |= {"sec": sec, "sec_per_kimg": sec / nimg * 1000, "memory_gb": memory_gb()}
    mine = own(sec, nimg, train.batch_size // train.batch_gpu, job["driver_node"]) | {"kernels": job["kernels"]}
    return row | tick.stats | {OWN: mine}


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the run: an orphaned trainer must not be joined by a second one. Raises TrainError that names it."""
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / "pid"
    try:
        with FileLock(folder / "driver.lock", timeout=0):
            owner.write_text(str(os.getpid()))
            yield
    except Timeout:
        pid = owner.read_text() if owner.exists() else "unknown"
        raise TrainError(
            f"{folder}: process {pid} is training this run. Wait until it ends and run the same command again, or end "
            f"it with `kill {pid}`; the run then resumes from its last checkpoint."
        ) from None


def run(
    params: Params, root: Path, state: Path, out: Path | None = None, callbacks: Sequence[UserCallback] = ()
) -> Path:
    """Train on the archive under `root` with the run's state under `state`, and return the run's folder.

    What the stage promises goes below `out`, without it below `root`.
    Raises TrainError, ArchiveError, and whatever ends Ray's workers more often than cluster.max_failures.
    """
    found, out = inputs_of(params, root, state), out or root
    dataset, folder = found.dataset, found.folder
    transferred = rehearse(params, dataset, found.pretrained)
    with exclusive(folder), publishing(journal := Journal(folder), params.tracking):
        record_training(journal, params, dataset.digest)
        if transferred is not None:
            write_json(folder / "transfer.json", transferred)
            journal.artifact(folder / "transfer.json")
        try:
            result = fit(params, dataset, found.pretrained, found.assets, journal, callbacks)
            snapshot, row = chosen(result, params.monitor)
            export(snapshot, out)
        except BaseException:
            journal.status("FAILED")
            raise
        rows = ticks.read(folder)
        trained = {
            "fingerprint": folder.name,
            "archive_sha256": dataset.digest,
            "resume_from": transferred,
            "snapshot": params.monitor.export,
            "cur_nimg": round(row["nimg"]),
            "trained_nimg": round(rows[-1]["nimg"]),
            "seed": params.train.seed,
        }
        train_json.write(out, trained)
        ticks.write_csv(rows, out / TICKS)
        record_export(journal, trained)
        journal.artifact(out / EXPORTED)
        journal.status("FINISHED")
    return folder


def shared_files(
    params: Params, dataset: ImageDataset, pretrained: Path | None, assets: Path
) -> dict[str, files.Shared]:
    """What workers read by path. Raises StoreError."""
    shared = {"archive": files.share(dataset.path.resolve(), dataset.digest, params.cluster)}
    if pretrained is not None:
        shared["pretrained"] = files.share(pretrained, sha256_of(pretrained), params.cluster)
    if params.monitor.num_images and params.monitor.extractor == "efficientnet_lite0":
        weights = assets / EFFICIENTNET_FILE
        shared["weights"] = files.share(weights, sha256_of(weights), params.cluster)
    return shared


def fit(
    params: Params, dataset: ImageDataset, pretrained: Path | None, assets: Path, journal: Journal,
    callbacks: Sequence[UserCallback] = (), start_from: Sequence[Checkpoint] = (),
) -> Result:  # fmt: skip
    """Train on Ray's workers until the end of the run, showing and recording its ticks.

    start_from: another run's checkpoint, if any, with which a run that has none begins.
    Raises TrainError, StoreError.
    """
    folder, on_store = journal.folder, params.cluster.storage_path is not None
    state = workers.run_state(params.cluster, folder)
    if on_store:
        ticklog.restore(folder, state)
    job = {
        "params": params,
        "files": shared_files(params, dataset, pretrained, assets),
        "folder": folder,
        "spare_checkpoints": spare_checkpoints(store.join(state, "checkpoints")) or list(start_from),
        "driver_node": here() if params.tracking.system_metrics else None,
    }
    lowest = KID if params.monitor.num_images else None
    log = ticklog.TickLog(folder, state if on_store else None)
    with connection.connect(params.cluster), follow.following(folder, journal, params), errors.told():
        files.refuse_unshared(state)
        result = TorchTrainer(
            train_worker,
            train_loop_config=job,
            torch_config=TorchConfig(timeout_s=params.cluster.collective_timeout_sec),
            scaling_config=workers.scaling(params.cluster),
            run_config=workers.run_config(params.cluster, folder / "checkpoints", [log, *callbacks], lowest),
        ).fit()
    if result.return_value is not None:
        raise TrainError(result.return_value)
    return result


def main() -> None:
    """Train what params.yaml says, with `section.key=value` arguments over it."""
    run(load(overrides=sys.argv[1:]), Path.cwd(), ROOT / "runs")


if __name__ == "__main__":
    try:
        main()
    except (
        ArchiveError, CheckpointError, ConfigError, FileNotFoundError, MetricError, StoreError, TrainError,
    ) as error:  # fmt: skip
        sys.exit(f"train: {error}")
