"""Two processes that train together (gloo): equal states on both, and the gradients of one process with both shares.

This file is also what each of the processes runs: `python test_two_ranks.py RANK FOLDER OVERRIDES...`.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import yaml

from pipelines.params import Params, load
from stylegan.data import ImageDataset
from stylegan.distributed import all_reduce_mean_, all_reduce_sum_, broadcast_, rank, world_size
from stylegan.metrics.extractors import RandomExtractor
from stylegan.monitor import Monitor
from stylegan.networks import Generator
from stylegan.state import TrainState
from stylegan.stats import Stats
from stylegan.step import Trainer
from stylegan.train import train

pytestmark = pytest.mark.distributed

REAL = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
Result = dict[str, torch.Tensor]


def create(params: Params) -> TrainState:
    return TrainState.create(params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))


def regularized(params: Params, share: slice) -> Result:
    """Gradients of R1 on a share of the batch, without anything random; the mean over ranks if there are two"""
    augment = params.augment.model_copy(update={"mode": "none"})
    state = create(params.model_copy(update={"augment": augment}))
    state.move_to(3)  # the last level is being faded in, so that all parameters learn
    for name, param in state.D.named_parameters():
        if name.endswith("bias"):  # they start at 0, where the slope of the leaky ReLU is decided by rounding
            param.add_(0.1)
    trainer = Trainer(state, draw_c=lambda n: torch.zeros(n, 0))
    trainer.regularize_d(REAL[share], torch.zeros(len(REAL[share]), 0))
    return {name: param.grad for name, param in state.D.named_parameters() if param.grad is not None}


def monitored(params: Params, G: Generator, archive: Path) -> dict[str, float]:
    """The columns of the log at a snapshot of 10 images, which two ranks have to share unevenly"""
    dataset = ImageDataset(archive, use_labels=False, xflip=False, split="train", max_images=None)
    monitor = params.monitor.model_copy(update={"num_images": 10})
    config = params.model_copy(update={"monitor": monitor})
    return Monitor.create(config, dataset, RandomExtractor(input_size=16)).measure(G)


def rank_main(folder: Path, params: Params) -> Result:
    """What one of two processes computes: state after two steps, ticks, gradients, reductions."""
    torch.manual_seed(rank())  # each begins with other numbers
    state = create(params)
    dataset = ImageDataset(folder / "archive.zip", use_labels=False, xflip=False, split="train", max_images=None)
    (tick,) = train(state, dataset)
    result = {f"G.{name}": tensor for name, tensor in state.G.state_dict().items()}
    result |= {f"D.{name}": tensor for name, tensor in state.D.state_dict().items()}
    result |= {f"G_ema.{name}": tensor for name, tensor in state.G_ema.state_dict().items()}
    result |= {"p": torch.tensor(state.p), "pl_mean": state.pl_mean}
    result |= {f"tick.{name}": torch.tensor(value) for name, value in tick.stats.items()}
    measured = monitored(params, state.G_ema, folder / "archive.zip")
    assert bool(measured) == (rank() == 0)
    torch.save(measured, folder / f"measured{rank()}.pt")
    result |= {f"grad.{name}": grad for name, grad in regularized(params, slice(rank() * 2, rank() * 2 + 2)).items()}

    mine = torch.tensor([1.0, 2.0]) * (rank() + 1)
    result |= {"sum": all_reduce_sum_(mine.clone()), "mean": all_reduce_mean_(mine.clone())}
    broadcast_([mine])
    stats = Stats(torch.device("cpu"))
    stats.add("value", torch.full((rank() + 1,), float(rank())))  # one 0 here, two 1 there
    return result | {"broadcast": mine, "stats": torch.tensor(stats.pop_means()["value"])}


@pytest.fixture(scope="module")
def overrides() -> tuple[str, ...]:
    return (
        "augment.mode=ada", "augment.ada_interval=1", "augment.ada_kimg=0.1", "augment.ada_target=0.5",
        "augment.p=0.3", "train.total_kimg=0.008", "train.tick_kimg=0.008", "train.batch_size=4", "train.batch_gpu=2",
        "loss.g_reg_interval=2", "loss.d_reg_interval=2",
        # The second of two steps has a level more than the first.
        "generator.architecture=orig", "discriminator.architecture=orig", "train.grow_from=8",
        "train.grow_stable_kimg=0.002", "train.grow_fade_kimg=0.002",
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both processes read and write"""
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def ranks(
    overrides: tuple[str, ...], make_params: Callable[..., Params], tiny_archive: Path, repository: Path, folder: Path
) -> list[Result]:
    """Results of both processes"""
    (folder / "archive.zip").write_bytes(tiny_archive.read_bytes())
    (folder / "params.yaml").write_text(yaml.safe_dump(make_params(*overrides).model_dump(mode="json")))
    environment = os.environ | {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([sys.executable, __file__, str(number), str(folder)], env=environment) for number in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    return [torch.load(folder / f"rank{number}.pt") for number in range(2)]


def test_both_ranks_end_with_the_same_state_and_tick(ranks: list[Result]) -> None:
    first, second = ranks
    assert first.keys() == second.keys()
    assert {name.split(".")[0] for name in first} >= {"G", "D", "G_ema", "p", "pl_mean", "tick", "grad"}
    unequal = [name for name in first if not torch.equal(first[name], second[name])]
    assert unequal == []


def test_training_moved_what_is_compared(ranks: list[Result]) -> None:
    assert ranks[0]["p"] not in (0, 0.3)
    assert ranks[0]["pl_mean"] > 0
    assert ranks[0]["G.mapping.w_avg"].any()


def test_averaged_gradients_are_those_of_one_process_with_both_shares(
    ranks: list[Result], overrides: tuple[str, ...], make_params: Callable[..., Params]
) -> None:
    params = make_params(*overrides)
    alone = regularized(params, slice(None))  # two micro-batches of two
    assert alone.keys() == {name.removeprefix("grad.") for name in ranks[0] if name.startswith("grad.")}
    for name, grad in alone.items():
        torch.testing.assert_close(ranks[0][f"grad.{name}"], grad, rtol=1e-5, atol=1e-7)  # fp32, halved before or after
    one_share = regularized(make_params(*overrides, "train.batch_size=2"), slice(0, 2))
    assert any(not torch.allclose(one_share[name], alone[name], rtol=1e-2) for name in alone)


def test_two_ranks_measure_the_kid_of_one(
    ranks: list[Result], folder: Path, overrides: tuple[str, ...], make_params: Callable[..., Params]
) -> None:
    params = make_params(*overrides)
    state = create(params)
    state.move_to(8)
    G_ema = state.G_ema
    weights = {name.removeprefix("G_ema."): value for name, value in ranks[0].items() if name.startswith("G_ema.")}
    G_ema.load_state_dict(weights)
    alone = monitored(params, G_ema, folder / "archive.zip")
    assert torch.load(folder / "measured0.pt") == alone
    assert alone["monitor/kid"] > 0


def test_reductions(ranks: list[Result]) -> None:
    for result in ranks:
        assert result["sum"].tolist() == [3, 6]
        assert result["mean"].tolist() == [1.5, 3]
        assert result["broadcast"].tolist() == [1, 2]
        assert result["stats"] == pytest.approx(2 / 3)


def main(number: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=number, world_size=2)
    assert (rank(), world_size()) == (number, 2)
    torch.save(rank_main(folder, load(folder / "params.yaml")), folder / f"rank{number}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
