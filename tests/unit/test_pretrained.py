"""pipelines.train.start: where networks to start from lie, and what a run records of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipelines.params import Params
from pipelines.train.start import pretrained_file, rehearse, start
from stylegan.checkpoint import save_checkpoint
from stylegan.config import ConfigError
from stylegan.data import ImageDataset
from stylegan.files import sha256_of
from stylegan.state import TrainState

Make = Callable[..., Params]
FILE = "pretrained/state.safetensors"
CPU = torch.device("cpu")


@pytest.fixture
def dataset(tiny_archive: Path) -> ImageDataset:
    return ImageDataset(tiny_archive, use_labels=False, xflip=False, split="train", max_images=None)


@pytest.fixture
def root(tmp_path: Path, make_params: Make) -> Path:
    """A work tree with a training checkpoint in pretrained/"""
    other = TrainState.create(make_params("train.seed=9"), img_resolution=16, img_channels=3, c_dim=0, device=CPU)
    save_checkpoint(other, tmp_path / FILE)
    return tmp_path


def test_without_a_file_a_run_starts_fresh(tiny_params: Params, dataset: ImageDataset, root: Path) -> None:
    assert pretrained_file(tiny_params, root) is None
    assert start(tiny_params, dataset, None, CPU)[1] is None
    assert rehearse(tiny_params, dataset, None) is None


def test_a_run_starts_from_the_file(make_params: Make, dataset: ImageDataset, root: Path) -> None:
    params = make_params(f"train.resume_from={FILE}")
    path = pretrained_file(params, root)
    assert path == (root / FILE).resolve()
    state, report = start(params, dataset, path, CPU)
    assert report is not None
    assert not torch.equal(state.G.synthesis.b4.const, start(make_params(), dataset, None, CPU)[0].G.synthesis.b4.const)


def test_the_record_names_file_digest_and_every_tensor(
    make_params: Make, dataset: ImageDataset, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = make_params(f"train.resume_from={FILE}", "generator.channel_max=3")
    transferred = rehearse(params, dataset, pretrained_file(params, root))
    assert transferred is not None
    record = transferred.model_dump(mode="json")
    assert (record["file"], record["sha256"]) == (FILE, sha256_of(root / FILE))
    assert {
        "name": "G.synthesis.b4.const",
        "action": "initialised",
        "reason": "[4, 4, 4] in the file, [3, 4, 4] here",
    } in record["report"]["entries"]
    shown = capsys.readouterr().out
    assert shown.startswith("starting from training checkpoint state.safetensors at 0 kimg, with p = 0\nG: ")
    assert "  G.synthesis.b4.const initialised: [4, 4, 4] in the file, [3, 4, 4] here\n" in shown


def test_a_missing_file_is_named_with_the_remedy(make_params: Make, root: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        pretrained_file(make_params("train.resume_from=pretrained/none.safetensors"), root)
    assert str(caught.value) == (
        "train.resume_from is pretrained/none.safetensors, but this file does not exist. Put it there (see "
        "pretrained/README.md), or set train.resume_from to null to start from scratch."
    )


@pytest.mark.parametrize("name", ["a.pkl", "a.PKL", "a.pickle"])
def test_an_official_file_must_be_imported_first(name: str, make_params: Make, root: Path) -> None:
    (root / "pretrained" / name).touch()
    with pytest.raises(ConfigError) as caught:
        pretrained_file(make_params(f"train.resume_from=pretrained/{name}"), root)
    assert str(caught.value) == (
        f"train.resume_from is pretrained/{name}, an official file. Run `python -m stylegan import pretrained/{name} "
        "pretrained/a.safetensors`, and set train.resume_from to what that writes."
    )


@pytest.mark.parametrize("name", ["elsewhere/a.safetensors", "/tmp/a.safetensors", "pretrained/../a.safetensors"])
def test_a_file_that_dvc_would_not_watch_is_refused(name: str, make_params: Make, root: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        pretrained_file(make_params(f"train.resume_from={name}"), root)
    assert str(caught.value) == (
        f"train.resume_from is {name}, outside pretrained/, where DVC would not notice that it changed. Copy it to "
        "pretrained/a.safetensors and set train.resume_from to that."
    )
