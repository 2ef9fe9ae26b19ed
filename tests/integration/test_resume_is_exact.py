"""A run that was stopped, saved and loaded elsewhere equals the uninterrupted one bit for bit."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipelines.params import Params
from stylegan.checkpoint import load_checkpoint, save_checkpoint
from stylegan.data import ImageDataset, loader
from stylegan.data.decoded import SharedFile, file_beside
from stylegan.data.loader import Host, OnDevice, Place
from stylegan.state import TrainState
from stylegan.train import Tick, train

pytestmark = pytest.mark.slow

OVERRIDES = (
    "prepare.labels=folders", "data.use_labels=true", "data.xflip=true",
    "augment.mode=ada", "augment.p=0.4", "augment.p_max=0.9", "augment.ada_interval=3", "augment.ada_kimg=0.1",
    "augment.ada_target=-1.0",
    "loss.g_reg_interval=3", "loss.d_reg_interval=4",
    "train.batch_size=8", "train.batch_gpu=4", "train.total_kimg=0.08", "train.tick_kimg=0.016",
)  # fmt: skip


# Under ada_rv the logits of training, held-out and generated images are pending.
MODES = {"ada": OVERRIDES, "ada_rv": (*OVERRIDES, "augment.mode=ada_rv")}


class Run:
    """New objects for everything: the data set, the state, the loop."""

    def __init__(self, params: Params, archive: Path) -> None:
        self.dataset = ImageDataset(archive, use_labels=True, xflip=True, split="train", max_images=None)
        torch.manual_seed(torch.seed())  # whatever the process drew before must not matter
        self.state = TrainState.create(
            params, img_resolution=16, img_channels=3, c_dim=self.dataset.c_dim, device=torch.device("cpu")
        )

    def train(self, num_ticks: int) -> list[Tick]:
        loop = train(self.state, self.dataset)
        return [next(loop) for _ in range(num_ticks)]


@pytest.fixture(scope="module")
def straight(
    request: pytest.FixtureRequest,
    make_params: Callable[..., Params],
    tiny_archive: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[Tick], bytes, Params]:
    """Ticks and saved state of the uninterrupted run of a mode, and its parameters"""
    params = make_params(*MODES[request.param])
    run = Run(params, tiny_archive)
    ticks = run.train(5)
    assert ticks[-1].is_last
    path = tmp_path_factory.mktemp("straight") / "state"
    save_checkpoint(run.state, path)
    return ticks, path.read_bytes(), params


# Ticks of two steps and an ADA interval of three: after ticks 1, 2 and 4 signs are pending, after tick 3 none are.
@pytest.mark.parametrize(
    ("straight", "first"), [("ada", 1), ("ada", 2), ("ada", 3), ("ada", 4), ("ada_rv", 1)], indirect=["straight"]
)
def test_stopped_and_resumed_equals_uninterrupted(
    first: int, straight: tuple[list[Tick], bytes, Params], tiny_archive: Path, tmp_path: Path
) -> None:
    params = straight[2]
    before = Run(params, tiny_archive)
    ticks = before.train(first)
    counts = before.state.sums[..., -1]  # under ada_rv of each source
    assert (counts > 0).all() == (first != 3)
    assert before.state.p > 0
    save_checkpoint(before.state, tmp_path / "state")

    after = Run(params, tiny_archive)
    load_checkpoint(after.state, tmp_path / "state")
    assert torch.equal(after.state.sums, before.state.sums)
    ticks += after.train(5 - first)
    save_checkpoint(after.state, tmp_path / "state")
    assert ticks == straight[0]
    # G, D, G_ema, moments and steps of both Adams, p, the sums that move it, path length mean, position.
    assert (tmp_path / "state").read_bytes() == straight[1]


@pytest.mark.parametrize("straight", ["ada"], indirect=True)
def test_resumed_with_pixels_elsewhere_equals_uninterrupted(
    straight: tuple[list[Tick], bytes, Params], tiny_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First in the way of a GPU, then in a file, at last in the archive only; the whole run had them in memory."""
    (tmp_path / "archive.zip").write_bytes(tiny_archive.read_bytes())
    places: list[Callable[[ImageDataset, torch.device], Place]] = [
        OnDevice,
        lambda data, device: Host(SharedFile(data, file_beside(data)), device),
        Host,
    ]
    ticks: list[Tick] = []
    for place, num_ticks in zip(places, (1, 2, 2), strict=True):
        monkeypatch.setattr(loader, "choose_place", lambda data, device, _, place=place: place(data, device))
        run = Run(straight[2], tmp_path / "archive.zip")
        if ticks:
            load_checkpoint(run.state, tmp_path / "state")
        ticks += run.train(num_ticks)
        save_checkpoint(run.state, tmp_path / "state")
    assert list(tmp_path.glob(".archive.zip.*.pixels"))
    assert ticks == straight[0]
    assert (tmp_path / "state").read_bytes() == straight[1]


@pytest.mark.parametrize("mode", MODES)
def test_run_has_moved_everything_that_is_compared(
    mode: str, make_params: Callable[..., Params], tiny_archive: Path
) -> None:
    """Otherwise the comparison above would hold for a state that forgets."""
    run = Run(make_params(*MODES[mode]), tiny_archive)
    fresh = {name: p.clone() for name, p in run.state.G.named_parameters()}
    run.train(5)
    assert run.state.p not in (0, 0.4)
    assert run.state.pl_mean > 0
    assert run.state.G.mapping.w_avg.any()
    assert all(not torch.equal(p, fresh[name]) for name, p in run.state.G.named_parameters())
    assert all(moments["step"] > 0 for o in (run.state.opt_g, run.state.opt_d) for moments in o.state.values())


@pytest.mark.parametrize("straight", ["ada"], indirect=True)
@pytest.mark.parametrize("steps", [1, 3, 4, 5])  # of ten; two make a tick, so after four no tick is cut
def test_cut_after_any_step_and_resumed_equals_uninterrupted_in_its_weights_and_its_statistics(
    steps: int, straight: tuple[list[Tick], bytes, Params], tiny_archive: Path, tmp_path: Path
) -> None:
    params = straight[2]
    before = Run(params, tiny_archive)
    nimg = steps * params.train.batch_size
    *ticks, cut = train(before.state, before.dataset, lambda: before.state.cur_nimg >= nimg)
    assert (cut.is_cut, cut.cur_nimg, len(ticks)) == (True, nimg, steps // 2)
    assert bool(cut.sums) == bool(steps % 2)
    save_checkpoint(before.state, tmp_path / "state")
    sums = json.loads(json.dumps(cut.sums))  # as a checkpoint keeps them

    after = Run(params, tiny_archive)
    load_checkpoint(after.state, tmp_path / "state")
    ticks += train(after.state, after.dataset, sums=sums)
    assert ticks == straight[0]
    save_checkpoint(after.state, tmp_path / "end")
    assert (tmp_path / "end").read_bytes() == straight[1]
