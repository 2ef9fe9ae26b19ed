"""A run that ended and was made longer equals one that had the larger total from the start, whatever it showed."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from pipelines.params import Params
from stylegan.checkpoint import load_checkpoint, save_checkpoint
from stylegan.data import ImageDataset
from stylegan.state import TrainState
from stylegan.train import train

pytestmark = pytest.mark.slow

Make = Callable[..., Params]
# Ends after five steps: in the middle of a tick, of an interval of ADA, and of those of both regularisers; the images
# pass from the second epoch to the third.
SHORT = (
    "data.xflip=true", "augment.p=0.4", "augment.p_max=0.9", "augment.ada_interval=3", "augment.ada_kimg=0.1",
    "augment.ada_target=-1.0", "loss.g_reg_interval=3", "loss.d_reg_interval=4", "train.batch_size=8",
    "train.batch_gpu=4", "train.ema_kimg=0.1", "train.ema_rampup=0.5", "train.total_kimg=0.04", "train.tick_kimg=0.016",
)  # fmt: skip
GROWING = (
    "generator.architecture=orig", "discriminator.architecture=orig", "train.grow_from=4",
    "train.grow_stable_kimg=0.012", "train.grow_fade_kimg=0.008",
)  # fmt: skip
LONG = ("train.total_kimg=0.08", "train.tick_kimg=0.012", "train.snapshot_ticks=2")
MODES = {"ada": (), "ada_rv": ("augment.mode=ada_rv",), "growing": GROWING}


def trained(params: Params, archive: Path, path: Path, start_from: Path | None = None) -> TrainState:
    """Train to the end and save"""
    dataset = ImageDataset(archive, use_labels=False, xflip=True, split="train", max_images=None)
    state = TrainState.create(params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))
    if start_from is not None:
        load_checkpoint(state, start_from)
    assert list(train(state, dataset))[-1].is_last
    save_checkpoint(state, path)
    return state


@pytest.mark.parametrize("mode", MODES)
def test_a_longer_run_continues_a_finished_one_bit_for_bit(
    mode: str, make_params: Make, tiny_archive: Path, tmp_path: Path
) -> None:
    overrides: Sequence[str] = (*SHORT, *MODES[mode])
    short = trained(make_params(*overrides), tiny_archive, tmp_path / "short")
    pending = short.sums[..., -1]
    assert (pending > 0).all()
    trained(make_params(*overrides, *LONG), tiny_archive, tmp_path / "longer", start_from=tmp_path / "short")
    straight = trained(make_params(*overrides, *LONG), tiny_archive, tmp_path / "straight")
    assert straight.cur_nimg == 80
    assert straight.p not in (0, 0.4)
    # G, D, G_ema, moments and steps of both Adams, p, the sums that move it, path length mean, position.
    assert (tmp_path / "longer").read_bytes() == (tmp_path / "straight").read_bytes()


def test_ticks_and_snapshots_decide_no_bit_and_the_micro_batch_does(
    make_params: Make, tiny_archive: Path, tmp_path: Path
) -> None:
    weights = []
    for name, changes in (
        ("first", ()),
        ("seen", ("train.tick_kimg=0.001", "train.snapshot_ticks=3")),
        ("smaller", ("train.batch_gpu=2",)),
    ):
        state = trained(make_params(*SHORT, *changes), tiny_archive, tmp_path / name)
        weights.append({name: tensor.clone() for name, tensor in state.G_ema.state_dict().items()})
    first, seen, smaller = weights
    assert all(torch.equal(tensor, seen[name]) for name, tensor in first.items())
    assert not all(torch.equal(tensor, smaller[name]) for name, tensor in first.items())
