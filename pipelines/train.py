"""Stage `train`: archive -> models/generator.safetensors, models/train.json, reports/ticks.csv.

The run's state lives in runs/<fingerprint>/, outside DVC's outputs: killed at any moment, the same command resumes it,
and a changed parameter is another run. models/train.json:

    fingerprint       name of the run: hash of the parameters, the archive and the code that decide its weights
    archive_sha256    of data/archive.zip
    cur_nimg          real images shown to D
    seed              train.seed
"""

import hashlib
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from filelock import FileLock, Timeout
from ray.train import Checkpoint
from ray.train.torch import TorchConfig, TorchTrainer

import stylegan
from pipelines import cluster, ticks
from pipelines.journal import Journal
from pipelines.params import ROOT, Params, fingerprint, load
from pipelines.recording import record_training
from pipelines.tracking import publishing
from stylegan.checkpoint import CheckpointError, load_checkpoint, save_checkpoint, save_generator
from stylegan.config import ConfigError
from stylegan.data import ArchiveError, ImageDataset
from stylegan.distributed import rank
from stylegan.files import replacing, write_json
from stylegan.generate import generate_images
from stylegan.images import grid, save_png
from stylegan.state import TrainState
from stylegan.train import NonFiniteError, Tick, train

STATE, GENERATOR, ROW = "state.safetensors", "generator.safetensors", "tick.json"  # in every checkpoint
SECTIONS = ("data", "generator", "discriminator", "augment", "loss", "train")
# The code that decides the weights; a change of it is a new run, as a changed parameter is.
CODE = (
    "augment", "data/dataset.py", "distributed.py", "images.py", "loss.py", "networks", "ops", "state.py", "train.py",
)  # fmt: skip
NUM_SAMPLES = 64  # pictures of each snapshot, of fixed seeds


class TrainError(RuntimeError):
    """Training cannot start or go on; the message says what to do."""


def train_worker(job: dict[str, Any]) -> str | None:
    """One worker's whole life: build or resume the state, train, report every tick.

    Returns the message of a NonFiniteError: the same steps would fail again, so Ray must not retry.
    """
    params: Params = job["params"]
    torch.set_num_threads(params.cluster.cpus_per_worker)
    with generation(job["folder"]):
        dataset = open_dataset(job["archive"], params)
        state = TrainState.create(
            params, img_resolution=dataset.resolution, img_channels=dataset.channels, c_dim=dataset.c_dim,
            device=ray.train.torch.get_device(),
        )  # fmt: skip
        resume(state, dataset, job["spare_checkpoints"])
        clock, before = time.perf_counter(), state.cur_nimg
        try:
            for tick in train(state, dataset):
                row = measure(tick, time.perf_counter() - clock, tick.cur_nimg - before)
                report(state, dataset, row, is_snapshot=tick.is_snapshot)
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


def open_dataset(archive: Path, params: Params) -> ImageDataset:
    """The train split as the parameters ask for it"""
    data = params.data
    return ImageDataset(
        archive, use_labels=data.use_labels, xflip=data.xflip, split="train", max_images=data.max_images
    )


def resume(state: TrainState, dataset: ImageDataset, spare_checkpoints: list[Path]) -> None:
    """Continue from the checkpoint that Ray registered, else from the newest that can be read, else stay fresh.

    Its tick is reported again: a kill may have come between Ray's register and the log, or spoilt the register.
    """
    registered = ray.train.get_checkpoint()
    if registered is not None:
        with registered.as_directory() as folder:
            load_checkpoint(state, Path(folder) / STATE)
            row = json.loads((Path(folder) / ROW).read_text())
        report(state, dataset, row, is_snapshot=False)  # registered twice, it would be deleted once
        return
    for spare in spare_checkpoints:
        try:
            row = json.loads((spare / ROW).read_text())
            load_checkpoint(state, spare / STATE)
        except (CheckpointError, FileNotFoundError, json.JSONDecodeError):
            continue
        report(state, dataset, row, is_snapshot=True)
        return


def report(state: TrainState, dataset: ImageDataset, row: ticks.Row, *, is_snapshot: bool) -> None:
    """Tell Ray about a tick; every rank has to."""
    with snapshot(state, dataset, row) if is_snapshot else nullcontext() as checkpoint:
        name = f"nimg_{state.cur_nimg:09d}" if is_snapshot else None
        ray.train.report(row, checkpoint=checkpoint, checkpoint_dir_name=name)


def measure(tick: Tick, sec: float, nimg: int) -> ticks.Row:
    """One row of the tick log"""
    rss_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    memory_gb = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else rss_gb
    position = {"nimg": float(tick.cur_nimg), "kimg": tick.cur_nimg / 1000}
    speed = {"sec": sec, "sec_per_kimg": sec / nimg * 1000, "memory_gb": memory_gb}
    return position | speed | tick.stats


@contextmanager
def snapshot(state: TrainState, dataset: ImageDataset, row: ticks.Row) -> Iterator[Checkpoint | None]:
    """Whole state, generator, sample pictures and row of the log in one folder, on rank 0; None on the others."""
    if rank() != 0:
        yield None
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_checkpoint(state, folder / STATE)
        save_generator(state.G_ema, folder / GENERATOR, dataset.class_names)
        write_json(folder / ROW, row)
        c = dataset.labels(range(NUM_SAMPLES)) if dataset.c_dim else None
        pictures = generate_images(
            state.G_ema, range(NUM_SAMPLES), psi=1.0, cutoff=None, noise_mode="const", c=c,
            batch_size=state.config.train.batch_gpu,
        )  # fmt: skip
        save_png(grid(pictures, columns=8), folder / ticks.SAMPLES)
        yield Checkpoint.from_directory(folder)


def code_digest() -> str:
    """sha256 over the sources in CODE"""
    root = Path(stylegan.__file__).parent
    digest = hashlib.sha256()
    for entry in CODE:
        path = root / entry
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


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


def spare_checkpoints(folder: Path) -> list[Path]:
    """Set aside a register of checkpoints that a kill cut short, and list what it lists no more, newest first."""
    register = folder / "checkpoint_manager_snapshot.json"
    found = sorted(folder.glob("nimg_*"), reverse=True)
    if register.exists() and not _is_json(register):
        register.unlink()
        start = found[0].name if found else "the beginning"
        print(f"{register}: cut short by a kill and removed; training goes on from {start}, if that can be read")
    return [] if register.exists() else found


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except ValueError:
        return False
    return True


def run(params: Params, root: Path, state: Path) -> Path:
    """Train on the archive under `root` with the run's state under `state`, and return the run's folder.

    Raises TrainError, ArchiveError, and whatever ends Ray's workers more often than cluster.max_failures.
    """
    dataset = open_dataset(root / "data" / "archive.zip", params)
    name = fingerprint(params, dataset.digest, code_digest(), sections=SECTIONS)
    folder = state / name
    with exclusive(folder), publishing(journal := Journal(folder), params.tracking):
        record_training(journal, params, dataset.digest)
        job = {
            "params": params,
            "archive": dataset.path.resolve(),
            "folder": folder,
            "spare_checkpoints": spare_checkpoints(folder / "checkpoints"),
        }
        try:
            with cluster.connect(params.cluster), ticks.following(folder, journal, params):
                result = TorchTrainer(
                    train_worker,
                    train_loop_config=job,
                    torch_config=TorchConfig(timeout_s=600),
                    scaling_config=cluster.scaling(params.cluster),
                    run_config=cluster.run_config(params.cluster, folder / "checkpoints", [ticks.TickLog(folder)]),
                ).fit()
                if result.return_value is not None:
                    raise TrainError(result.return_value)
                export(result.checkpoint, root)
        except BaseException:
            journal.status("FAILED")
            raise
        trained = {"fingerprint": name, "archive_sha256": dataset.digest}
        rows = ticks.read(folder)
        write_json(
            root / "models" / "train.json",
            trained | {"cur_nimg": round(rows[-1]["nimg"]), "seed": params.train.seed},
        )
        ticks.write_csv(rows, root / "reports" / "ticks.csv")
        journal.artifact(root / "models" / GENERATOR)
        journal.status("FINISHED")
    return folder


def export(checkpoint: Checkpoint | None, root: Path) -> None:
    """Copy the generator of the last checkpoint to models/."""
    assert checkpoint is not None, "train() ends with a snapshot"
    with checkpoint.as_directory() as folder, replacing(root / "models" / GENERATOR) as temporary:
        shutil.copy(Path(folder) / GENERATOR, temporary)


def main() -> None:
    """Train what params.yaml says, with `section.key=value` arguments over it."""
    run(load(overrides=sys.argv[1:]), Path.cwd(), ROOT / "runs")


if __name__ == "__main__":
    try:
        main()
    except (ArchiveError, CheckpointError, ConfigError, FileNotFoundError, TrainError) as error:
        sys.exit(f"train: {error}")
