"""The same training twice, in another process, and resumed half-way: what ends with the same bits."""

import hashlib
import multiprocessing
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from benchmarks.settings import config
from benchmarks.workload import Workload, prepare, workload
from stylegan.state import TrainState

STEPS = 12  # Greg runs in three of them, p moves in three
TINIEST = 1e-30  # keeps parts that are all zero from dividing by it
Parts = dict[str, Tensor]  # "weights" and so on -> all of its numbers, on the processor


def train(resolution: int, batch: int, precision: str, device: torch.device, resume: bool = False) -> Parts:
    """What STEPS steps end with; resume: after half of them saved, and loaded into another state"""
    work = _start(resolution, batch, precision, device)
    for _ in range(STEPS // 2):
        work.step()
    if resume:
        from stylegan.checkpoint import load_checkpoint, save_checkpoint  # needs safetensors, and the rest does not

        with TemporaryDirectory() as folder:
            save_checkpoint(work.trainer.state, Path(folder) / "state.safetensors")
            work = _start(resolution, batch, precision, device)
            load_checkpoint(work.trainer.state, Path(folder) / "state.safetensors")
    for _ in range(STEPS - STEPS // 2):
        work.step()
    return dict(parts(work.trainer.state))


def _start(resolution: int, batch: int, precision: str, device: torch.device) -> Workload:
    return workload(config(resolution, batch, precision, kernels="auto"), device)


def parts(state: TrainState) -> Iterator[tuple[str, Tensor]]:
    """All that training changes, by kind"""
    networks = [*state.G.state_dict().values(), *state.D.state_dict().values(), *state.G_ema.state_dict().values()]
    moments = [
        value
        for optimizer in (state.opt_g, state.opt_d)
        for found in optimizer.state.values()
        for value in found.values()
    ]
    yield "weights", _flat(networks)
    yield "optimiser", _flat(moments)
    yield "p", torch.tensor([state.p], dtype=torch.float64)
    yield "pl_mean", _flat([state.pl_mean])


def _flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().double().cpu().flatten() for tensor in tensors])


def compare(parts_: Parts, others: Parts) -> dict[str, float]:
    """Of each part the largest difference, relative to its largest value; 0.0 means equal bits"""
    return {
        name: 0.0
        if torch.equal(mine, others[name])
        else float((mine - others[name]).abs().max() / mine.abs().max().clamp(min=TINIEST))
        for name, mine in parts_.items()
    }


def elsewhere(resolution: int, batch: int, precision: str, device: torch.device) -> dict[str, str]:
    """Digests of what another process ends with"""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_digests_of_training, resolution, batch, precision, str(device), _threads()).result()


def _digests_of_training(resolution: int, batch: int, precision: str, device: str, threads: int) -> dict[str, str]:
    torch.set_num_threads(threads)
    prepare(torch.device(device), "auto")
    return digests(train(resolution, batch, precision, torch.device(device)))


def _threads() -> int:
    return torch.get_num_threads()


def digests(found: Parts) -> dict[str, str]:
    """sha256 of each part"""
    return {name: hashlib.sha256(values.numpy().tobytes()).hexdigest() for name, values in found.items()}


def alerts(resolution: int, batch: int, precision: str, device: torch.device) -> list[str]:
    """Operations of a step that torch calls nondeterministic on this device"""
    work = _start(resolution, batch, precision, device)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work.step()
    finally:
        torch.use_deterministic_algorithms(False)
    told = [str(each.message).split(" does not have")[0] for each in caught if "determinis" in str(each.message)]
    return sorted({name[:60] for name in told})
