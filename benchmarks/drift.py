"""How far trainings of 1, 2 and 3 processes part: the same batches, draws and schedule, but sums in another order.

    python -m benchmarks.drift [section.key=value ...] [--steps 1 10 100]

Trains on data/archive.zip without Ray, with micro-batches that three processes share unevenly, and compares the
generators: the largest difference of images of the same latents, and of weights as a share of what training changed.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from pipelines.params import ROOT, Params, load
from pipelines.train.identity import open_training_set
from stylegan.distributed import rank
from stylegan.state import TrainState
from stylegan.train import train

SIZES = (1, 2, 3)
NUM_IMAGES = 64
Outcome = tuple[Tensor, Tensor]  # weights of G in one row, and images of fixed latents


def outcome(state: TrainState) -> Outcome:
    """What is compared"""
    z = torch.randn(NUM_IMAGES, state.G.z_dim, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return torch.cat([param.flatten() for param in state.G.parameters()]).clone(), state.G(z, noise_mode="const")


def work(number: int, size: int, params: Params, steps: Sequence[int], folder: Path) -> None:
    """One process of so many"""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet{size}", rank=number, world_size=size)
    dataset = open_training_set(ROOT / "data" / "archive.zip", params)
    state = TrainState.create(
        params, img_resolution=dataset.resolution, img_channels=dataset.channels, c_dim=0, device=torch.device("cpu")
    )
    found = {0: outcome(state)}
    for tick in train(state, dataset):
        if tick.index in steps:
            found[tick.index] = outcome(state)
    if rank() == 0:
        torch.save(found, folder / f"{size}.pt")
    dist.destroy_process_group()


def main() -> None:
    """Print a row for each number of steps."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 10, 100], metavar="N")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    given = parser.parse_args()
    batch = load(overrides=given.overrides).train.batch_size
    schedule = (
        f"train.batch_gpu={batch // 4}", f"train.tick_kimg={batch / 1000}",
        f"train.total_kimg={batch * max(given.steps) / 1000}",
    )  # fmt: skip
    params = load(overrides=[*schedule, *given.overrides])
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            mp.spawn(work, (size, params, given.steps, Path(folder)), nprocs=size)
        alone, *others = (torch.load(Path(folder) / f"{size}.pt") for size in SIZES)
    print("steps   processes   weights, share of what changed   images, largest difference   and mean")
    for step in given.steps:
        moved = (alone[step][0] - alone[0][0]).norm()
        for size, other in zip(SIZES[1:], others, strict=True):
            weights = ((other[step][0] - alone[step][0]).norm() / moved).item()
            apart = (other[step][1] - alone[step][1]).abs()
            print(f"{step:5}   {size:9}   {weights:30.1e}   {apart.max().item():26.1e}   {apart.mean().item():8.1e}")


if __name__ == "__main__":
    main()
