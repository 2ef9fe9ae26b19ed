"""A smaller train.total_kimg, without Ray: a run that has come further stays, whatever was kept of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipelines.params import Params
from pipelines.train import recent, shorter
from pipelines.train.identity import Inputs
from pipelines.train.kept import REGISTER
from stylegan.data import ImageDataset
from stylegan.state import TrainState

Make = Callable[..., Params]


@pytest.fixture
def found(tiny_archive: Path, tmp_path: Path) -> Inputs:
    """A run of which a snapshot of 8 images is kept"""
    dataset = ImageDataset(tiny_archive, use_labels=False, xflip=False, split="train", max_images=None)
    (tmp_path / "run" / "checkpoints" / "nimg_000000008").mkdir(parents=True)
    return Inputs(dataset, None, tmp_path, tmp_path / "run", tmp_path / "fixed", None)


def stopped_by_a_signal(run: Path, params: Params) -> None:
    listed = {"checkpoint_dir_name": "leaving_000000020", "metrics": {"nimg": 20.0}}
    (run / "checkpoints" / REGISTER).write_text(json.dumps({"latest_checkpoint_result": listed}))


def killed_between_snapshots(run: Path, params: Params) -> None:
    state = TrainState.create(params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))
    state.cur_nimg = 20
    recent.write(str(run / recent.FOLDER), state, {"nimg": 20.0, "kimg": 0.02}, None)


def killed_after_a_tick(run: Path, params: Params) -> None:
    (run / "ticks.jsonl").write_text('{"nimg": 20.0, "kimg": 0.02}\n')


@pytest.mark.parametrize("end", [stopped_by_a_signal, killed_between_snapshots, killed_after_a_tick])
def test_a_run_that_ended_beyond_the_new_length_is_left_alone(
    end: Callable[[Path, Params], None], found: Inputs, make_params: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    end(found.folder, make_params())
    assert shorter.place(make_params("train.total_kimg=0.02"), found) == (found.folder, [])
    assert capsys.readouterr().out == ""
    folder, _ = shorter.place(make_params("train.total_kimg=0.016", "monitor.export=last"), found)
    assert folder == found.fixed_folder
    assert "run run has come to kimg 0.02 and stays so; this is run fixed, which begins" in capsys.readouterr().out
