"""python -m stylegan generate | mix | interpolate: what it writes, and what it says to a mistake."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from pipelines.params import Params
from stylegan.__main__ import main
from stylegan.checkpoint import save_generator
from stylegan.networks import Generator


def save(path: Path, params: Params, c_dim: int) -> str:
    torch.manual_seed(0)
    save_generator(Generator(params.generator, img_resolution=16, img_channels=3, c_dim=c_dim), path)
    return str(path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, tiny_params: Params) -> str:
    return save(tmp_path_factory.mktemp("plain") / "generator.safetensors", tiny_params, c_dim=0)


@pytest.fixture(scope="module")
def conditional(tmp_path_factory: pytest.TempPathFactory, tiny_params: Params) -> str:
    return save(tmp_path_factory.mktemp("conditional") / "generator.safetensors", tiny_params, c_dim=3)


def test_generate_writes_a_picture_for_each_seed(
    plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", plain, "--seeds", "0-2,20", "--out", str(tmp_path / "new")]) == 0
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["seed0000.png", "seed0001.png", "seed0002.png", "seed0020.png"]
    assert capsys.readouterr().out == f"4 images in {tmp_path / 'new'}\n"


def test_mix_writes_every_mixture_and_a_sheet(plain: str, tmp_path: Path) -> None:
    arguments = ["mix", plain, "--rows", "0,1", "--cols", "2-4", "--layers", "0-1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert len(list(tmp_path.glob("000[01]-000[234].png"))) == 6
    with Image.open(tmp_path / "grid.png") as sheet:
        assert sheet.size == (48, 32)


def test_interpolate_writes_a_film(plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = tmp_path / "walk.mp4"
    assert main(["interpolate", plain, "--seeds", "0,1", "--frames", "3", "--out", str(film)]) == 0
    assert capsys.readouterr().out == f"6 frames in {film}\n"
    assert film.stat().st_size > 0


def test_a_class_chooses_the_label(conditional: str, tmp_path: Path) -> None:
    for index in "01":
        arguments = ["generate", conditional, "--seeds", "0", "--class", index, "--out", str(tmp_path / index)]
        assert main(arguments) == 0
    assert (tmp_path / "0/seed0000.png").read_bytes() != (tmp_path / "1/seed0000.png").read_bytes()


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.safetensors"
    assert main(["generate", str(path), "--seeds", "0", "--out", str(tmp_path)]) == 1
    expected = f"error: {path}: no such file. `dvc repro train` makes models/generator.safetensors.\n"
    assert capsys.readouterr().err == expected


def test_a_class_for_an_unconditional_generator_is_refused(
    plain: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", plain, "--seeds", "0", "--class", "1", "--out", str(tmp_path)]) == 1
    expected = "error: class 1 was asked for, but this generator is unconditional. Leave the class out.\n"
    assert capsys.readouterr().err == expected


def test_a_conditional_generator_asks_for_a_class(
    conditional: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", conditional, "--seeds", "0", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: this generator is conditional. Choose a class from 0 to 2.\n"


@pytest.mark.parametrize("bad", ["x", "3-", "-3", "9-2", "1,,2", "1.5", ""])
def test_a_bad_list_of_seeds_is_explained(plain: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["generate", plain, f"--seeds={bad}", "--out", "unused"])
    assert stop.value.code == 2
    wrong = {"9-2": "'9-2'", "1,,2": "''"}.get(bad, repr(bad))
    expected = f"argument --seeds: {wrong} is neither a number nor a range; write numbers like 0-9,20\n"
    assert capsys.readouterr().err.endswith(expected)


@pytest.mark.parametrize("bad", ["0", "-1", "two"])
def test_a_bad_count_is_explained(plain: str, bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["interpolate", plain, "--seeds", "0,1", f"--frames={bad}", "--out", "unused"])
    assert capsys.readouterr().err.endswith(f"argument --frames: {bad!r} is not a whole number of at least 1\n")


def test_a_device_that_is_not_there_is_explained(plain: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["generate", plain, "--seeds", "0", "--device", "abacus", "--out", "unused"])
    error = capsys.readouterr().err
    assert "argument --device: 'abacus' cannot be used on this machine (" in error
    assert error.endswith("); cpu always can\n")
