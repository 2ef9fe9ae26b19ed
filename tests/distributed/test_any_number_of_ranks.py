"""One, two and three processes (gloo) that share a batch of three micro-batches: what is equal, and what they say.

Two cannot share it evenly. This file is also what the processes run: `python test_any_number_of_ranks.py FOLDER`.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import yaml
from numpy.typing import NDArray

from pipelines.params import Params, load
from stylegan.checkpoint import load_checkpoint, save_checkpoint
from stylegan.data.labels import Labels
from stylegan.distributed import dealt, rank, world_size
from stylegan.state import TrainState
from stylegan.step import Trainer
from stylegan.train import train

pytestmark = pytest.mark.distributed

MICRO, COUNT = 2, 3
REAL = torch.rand(MICRO * COUNT, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
PHASES = ("update_g", "regularize_g", "update_d", "regularize_d")
Result = dict[str, torch.Tensor]
OVERRIDES = (
    f"train.batch_size={MICRO * COUNT}", f"train.batch_gpu={MICRO}", "augment.p=0.5", "loss.g_reg_interval=1",
    "loss.d_reg_interval=1", "augment.ada_interval=2", "augment.ada_kimg=0.1", "train.total_kimg=0.036",
    "train.tick_kimg=0.018", "loss.pl_decay=0.1", "loss.r1_gamma=10.0",
)  # fmt: skip


def create(params: Params) -> TrainState:
    state = TrainState.create(params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))
    for name, param in state.D.named_parameters():
        if name.endswith("bias"):  # they start at 0, where the slope of the leaky ReLU is decided by rounding
            param.add_(0.1)
    return state


def gradients(params: Params) -> Result:
    """Of each phase at the first weights, with a path length mean that stays at 1"""
    loss = params.loss.model_copy(update={"pl_decay": 0.0})
    result = {}
    for phase in PHASES:
        state = create(params.model_copy(update={"loss": loss}))
        state.pl_mean.fill_(1)
        trainer = Trainer(state, draw_c=lambda n: torch.zeros(n, 0))
        share = slice(trainer.own.start * MICRO, trainer.own.stop * MICRO)
        images = () if phase.endswith("g") else (REAL[share], torch.zeros(len(REAL[share]), 0))
        getattr(trainer, phase)(*images)
        net = state.G if phase.endswith("g") else state.D
        result |= {f"{phase}.{name}": p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    return result


class Noise:
    """A data set of random images, each always the same."""

    num_images, img_shape = 50, (3, 16, 16)

    def __len__(self) -> int:
        return self.num_images

    def read(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        for row, image in zip(rows, out, strict=True):
            generator = torch.Generator().manual_seed(int(row))
            image[:] = torch.randint(0, 256, self.img_shape, generator=generator, dtype=torch.uint8).numpy()

    def labels_on(self, device: torch.device) -> Labels:
        return Labels(None, 0, device)


def trained(params: Params, folder: Path) -> Result:
    """Everything after six steps and two ticks, once without a pause and once from a file of the third step

    p is adjusted every second step, so the file holds signs. Each state is followed by the numbers of all-reduces.
    """
    result: Result = {}
    straight, resumed = create(params), create(params)
    file = folder / f"state{world_size()}.safetensors"
    for name, state in (("straight", straight), ("resumed", resumed)):
        if name == "resumed":
            load_checkpoint(state, file)
        counts = []
        ticks = train(state, Noise())  # type: ignore[arg-type]
        for number, reductions in counted(ticks):
            counts.append(reductions)
            if name == "straight" and number == 0 and rank() == 0:
                save_checkpoint(state, file)
            if world_size() > 1:
                dist.barrier()
        nets = {"G": state.G, "D": state.D, "G_ema": state.G_ema}
        for prefix, net in nets.items():
            result |= {f"{name}.{prefix}.{key}": value for key, value in net.state_dict().items()}
        result |= {f"{name}.p": torch.tensor(state.p), f"{name}.pl_mean": state.pl_mean}
        result[f"{name}.reductions"] = torch.tensor(counts)
    return result


def steered(params: Params) -> Result:
    """Under ada_rv: what is pending after a step, as a file would hold it, and p after the next, which adjusts it"""
    state = create(params.model_copy(update={"augment": params.augment.model_copy(update={"mode": "ada_rv"})}))
    trainer, pending = Trainer(state, draw_c=lambda n: torch.zeros(n, 0)), torch.zeros(0)
    share = slice(trainer.own.start * MICRO, trainer.own.stop * MICRO)
    for number in range(2):
        trainer.validate_d(-REAL[share], torch.zeros(len(REAL[share]), 0))
        trainer.update_d(REAL[share], torch.zeros(len(REAL[share]), 0))
        if number == 0:
            state.gather_sums()
            pending = state.sums.clone()
        state.advance()
    return {"rv.pending": pending, "rv.p": torch.tensor(state.p)}


def counted(ticks: Iterator[object]) -> Iterator[tuple[int, int]]:
    """Number of each tick, and of the all-reduces until then"""
    original, calls = dist.all_reduce, 0

    def all_reduce(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        return original(*args, **kwargs)

    dist.all_reduce = all_reduce
    for number, _ in enumerate(ticks):
        yield number, calls
        calls = 0
    dist.all_reduce = original


def results(folder: Path) -> Result:
    params = load(folder / "params.yaml")
    return gradients(params) | steered(params) | trained(params, folder) | {"own": torch.tensor([*dealt(COUNT)])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_params: Callable[..., Params]) -> Path:
    """Where all processes read and write"""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "params.yaml").write_text(yaml.safe_dump(make_params(*OVERRIDES).model_dump(mode="json")))
    return folder


@pytest.fixture(scope="module")
def worlds(folder: Path, repository: Path) -> dict[int, list[Result]]:
    """Results of every rank, by the number of ranks"""
    environment = os.environ | {"PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, __file__, str(folder)], env=environment, check=True, timeout=200)
    files = {size: [folder / f"{size}_{rank}.pt" for rank in range(size)] for size in (2, 3)}
    return {1: [results(folder)]} | {size: [torch.load(file) for file in files[size]] for size in files}


def test_the_first_ranks_have_one_micro_batch_more(worlds: dict[int, list[Result]]) -> None:
    own = {size: [result["own"].tolist() for result in ranks] for size, ranks in worlds.items()}
    assert own == {1: [[0, 1, 2]], 2: [[0, 1], [2]], 3: [[0], [1], [2]]}


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("phase", PHASES)
def test_gradients_are_those_of_one_process(phase: str, size: int, worlds: dict[int, list[Result]]) -> None:
    alone = {name: grad for name, grad in worlds[1][0].items() if name.startswith(phase)}
    largest = max(grad.abs().max().item() for grad in alone.values())
    assert largest > 1e-3
    for result in worlds[size]:
        assert {name for name in result if name.startswith(phase)} == alone.keys()
        differences = {name: (result[name] - grad).abs().max().item() / largest for name, grad in alone.items()}
        assert max(differences.values()) < 1e-6, differences


@pytest.mark.parametrize("size", [2, 3])
def test_training_is_that_of_one_process_but_for_rounding(size: int, worlds: dict[int, list[Result]]) -> None:
    alone, shared = worlds[1][0], worlds[size][0]
    names = [name for name in alone if name.startswith("straight.") and not name.endswith("reductions")]
    for name in names:  # steps are of the size of the learning rate whatever the gradient is, so it is the measure
        torch.testing.assert_close(shared[name], alone[name], rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize("size", [2, 3])
def test_all_ranks_end_with_the_same_state(size: int, worlds: dict[int, list[Result]]) -> None:
    first, *others = worlds[size]
    names = [name for name in first if name.startswith("straight.")]
    assert [name for name in names for other in others if not torch.equal(first[name], other[name])] == []
    assert first["straight.pl_mean"] > 0
    assert first["straight.G.mapping.w_avg"].any()
    assert first["straight.p"] != 0.5


@pytest.mark.parametrize("size", [1, 2, 3])
def test_all_ranks_resume_to_the_state_of_an_uninterrupted_run(size: int, worlds: dict[int, list[Result]]) -> None:
    for result in worlds[size]:
        straight = {name.removeprefix("straight."): value for name, value in result.items() if "straight." in name}
        unequal = [name for name, value in straight.items() if not torch.equal(value, result[f"resumed.{name}"])]
        assert [name for name in unequal if name != "reductions"] == []


@pytest.mark.parametrize("size", [2, 3])
def test_held_out_images_steer_p_as_in_one_process(size: int, worlds: dict[int, list[Result]]) -> None:
    (alone,), (first, *others) = worlds[1], worlds[size]
    assert alone["rv.p"] != 0.5
    assert all(torch.equal(result["rv.p"], alone["rv.p"]) for result in (first, *others))
    assert first["rv.pending"][:, 1].tolist() == [6, 6, 6]
    # Logits in units of 2^-20, of three micro-batches, each the same whoever computes it.
    assert torch.equal(first["rv.pending"], alone["rv.pending"])
    assert not any(result["rv.pending"].any() for result in others)


def test_a_phase_reduces_once_and_statistics_once_a_tick(worlds: dict[int, list[Result]]) -> None:
    assert worlds[1][0]["straight.reductions"].tolist() == [0, 0]
    for size in (2, 3):
        # Two phases of three steps, as none is lazy; the signs every second step.
        expected = [3 * 2 + signs + statistics + snapshot for signs, statistics, snapshot in ((1, 1, 1), (2, 1, 1))]
        assert [result["straight.reductions"].tolist() for result in worlds[size]] == [expected] * size


def main(folder: Path) -> None:
    """Three processes, of which the first two then are a world of their own; torch is imported once for all."""
    torch.set_num_threads(1)
    for number in range(3):
        if os.fork() == 0:
            for size in range(3, max(number, 1), -1):
                rendezvous = f"file://{folder}/rendezvous{size}"
                dist.init_process_group("gloo", init_method=rendezvous, rank=number, world_size=size)
                torch.save(results(folder), folder / f"{size}_{number}.pt")
                dist.destroy_process_group()
            os._exit(0)
    sys.exit(max(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(3)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
