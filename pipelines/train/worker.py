"""One worker of a training, from its state to its last tick."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from filelock import FileLock
from ray.train import Checkpoint

from pipelines.artifacts.ticks import OWN
from pipelines.cluster.errors import named
from pipelines.params import Params
from pipelines.train.identity import monitor_extractor
from pipelines.train.integrity import Damaged, DamagedError
from pipelines.train.pulse import Pulse
from pipelines.train.ranks import Report, memory_gb, own
from pipelines.train.recent import Keeper, end_nimg, newest
from pipelines.train.snapshots import (
    contributions,
    report,
    report_beginning,
    resume,
    save_beside,
    save_if_called_back,
)  # fmt: skip
from pipelines.train.start import open_training_set, start
from stylegan.backends import prepare_device
from stylegan.data import ImageDataset
from stylegan.distributed import all_gather, rank
from stylegan.monitor import Monitor
from stylegan.networks import Generator
from stylegan.step import NonFiniteError
from stylegan.train import Tick, train


def train_worker(job: dict[str, Any]) -> str | int | Damaged | None:
    """One worker's whole life: build or resume the state, train, report every tick.

    Returns the message of a NonFiniteError: the same steps would fail again, so Ray must not retry; for the same reason
    the damaged checkpoint that it should have resumed from; or the number of images after which the run was asked to
    end and has saved its state.
    """
    params: Params = job["params"]
    torch.set_num_threads(params.cluster.cpus_per_worker)
    with named(), generation(job["folder"]):
        paths = {name: file.here() for name, file in job["files"].items()}
        dataset, device = open_training_set(paths["archive"], params), ray.train.torch.get_device()
        job["kernels"] = prepare_device(device, params.train.kernels, allow_tf32=params.train.allow_tf32)
        state, _ = start(params, dataset, paths.get("pretrained"), device)
        monitored = monitoring(params, dataset, paths.get("weights", Path()).parent, state.device)
        try:
            origins = job.get("start_from", ())
            row, sums = resume(
                state, dataset, job["spare_checkpoints"], job["yardstick"], monitored,
                _recent(job["state"], params), start_from=origins,
            )  # fmt: skip
        except DamagedError as error:
            return error.damaged
        if state.cur_nimg == 0:
            report_beginning(state, dataset)
        board = job.get("board")
        pulse = Pulse(board, state.cur_nimg, state.device)
        keeper = Keeper(job["state"], params.cluster.checkpoint_minutes, print if board is None else board.say.remote)
        clock, before, saved = time.perf_counter(), state.cur_nimg, False
        try:
            for tick in train(state, dataset, lambda: pulse.should_end(state.cur_nimg), sums):
                if tick.is_cut:
                    save_beside(state, dataset, row, tick.sums, job["yardstick"])
                    return state.cur_nimg
                row = measure(tick, time.perf_counter() - clock, tick.cur_nimg - before, job)
                if tick.is_snapshot:
                    row |= contributions(state, dataset) | monitored(state.G_ema)
                report(state, dataset, row, yardstick=job["yardstick"], is_snapshot=tick.is_snapshot)
                saved = saved or save_if_called_back(state, dataset, row, job["yardstick"])
                if tick.is_snapshot:
                    keeper.restart()
                else:
                    keeper.save_if_due(state, row, job["yardstick"])
                clock, before = time.perf_counter(), tick.cur_nimg
        except NonFiniteError as error:
            return str(error)
        finally:
            keeper.finish()
    return None


def _recent(state: str, params: Params) -> Checkpoint | None:
    """The newest checkpoint between snapshots that this run may begin with, as rank 0 sees it"""
    return all_gather(newest(state, end_nimg(params.train)) if rank() == 0 else None)[0]


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
) -> Callable[[Generator], dict[str, float]]:
    """What measures the generator at a snapshot, on rank 0; its row is empty where nothing is measured"""
    extractor = monitor_extractor(params, dataset, assets)
    return (lambda G: {}) if extractor is None else Monitor.create(params, dataset, extractor.to(device)).measure


def measure(tick: Tick, sec: float, nimg: int, job: dict[str, Any]) -> Report:
    """What this rank reports of a tick: a row of the log, and what is its own"""
    train = job["params"].train
    row = {"nimg": float(tick.cur_nimg), "kimg": tick.cur_nimg / 1000}
    row |= {"sec": sec, "sec_per_kimg": sec / nimg * 1000, "memory_gb": memory_gb()}
    mine = own(sec, nimg, train.batch_size // train.batch_gpu, job["driver_node"], job["kernels"])
    return row | tick.stats | {OWN: asdict(mine)}
