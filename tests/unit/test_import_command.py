"""python -m stylegan import, and the other commands on an official file."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from stylegan.__main__ import main
from stylegan.checkpoint import load_generator, load_networks
from stylegan.generators import load_any_generator
from tests.official_files import official, small_discriminator, small_generator


@pytest.fixture(scope="module")
def pkl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("official") / "network.pkl"
    path.write_bytes(official(small_generator(), small_discriminator()))
    return path


def test_import_writes_every_network(pkl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "networks.safetensors"
    assert main(["import", str(pkl), str(target)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{pkl}: pickle protocol 4")
    assert said.endswith(f"\nwritten: {target}\n")
    with safe_open(target, framework="pt") as file:
        assert {name.split(".")[0] for name in file.keys()} == {"G", "D", "G_ema"}  # noqa: SIM118 - not a mapping
    networks = load_networks(target)
    assert networks.augment_p == 0.25
    assert networks.source.startswith("official file network.pkl, sha256 ")


def test_the_imported_generator_draws_what_the_official_one_draws(pkl: Path, tmp_path: Path) -> None:
    main(["import", str(pkl), str(tmp_path / "networks.safetensors")])
    z = torch.randn(2, 6)
    here, there = load_generator(tmp_path / "networks.safetensors"), load_any_generator(pkl)[0]
    assert torch.equal(here(z, noise_mode="const"), there(z, noise_mode="const"))
    assert not any(parameter.requires_grad for parameter in there.parameters())


def test_generate_takes_an_official_file(pkl: Path, tmp_path: Path) -> None:
    assert main(["generate", str(pkl), "--seeds", "0,1", "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["seed0000.png", "seed0001.png"]


def test_a_damaged_file_is_one_line_and_nothing_is_written(
    pkl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged, target = tmp_path / "damaged.pkl", tmp_path / "networks.safetensors"
    damaged.write_bytes(pkl.read_bytes()[:5000])
    assert main(["import", str(damaged), str(target)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {damaged}: not read, byte ")
    assert said.count("\n") == 1
    assert not target.exists()


def test_the_target_is_safetensors(pkl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(pkl), str(tmp_path / "networks.pt")]) == 1
    assert "Give the target that ending" in capsys.readouterr().err
