"""python -m stylegan contributions: the table, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipelines.params import Params
from stylegan.__main__ import main
from stylegan.analysis.contributions import layer_contributions
from stylegan.checkpoint import save_generator
from stylegan.config.pyramid import Resolution
from stylegan.drawing.generate import styles
from stylegan.networks import Generator

Save = Callable[..., tuple[Generator, str]]


@pytest.fixture
def save(tmp_path: Path, make_params: Callable[..., Params]) -> Save:
    def write(architecture: str = "skip", c_dim: int = 0, img_resolution: Resolution = 16) -> tuple[Generator, str]:
        torch.manual_seed(0)
        config = make_params(f"generator.architecture={architecture}").generator
        G = Generator(config, img_resolution=img_resolution, img_channels=3, c_dim=c_dim).eval()
        save_generator(G, tmp_path / "generator.safetensors")
        return G, str(tmp_path / "generator.safetensors")

    return write


def rows(out: str) -> dict[int, list[float]]:
    """Numbers of a printed table by resolution"""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    return {int(first): [float(cell) for cell in rest] for first, *rest in cells}


def test_the_table_holds_the_contributions(save: Save, capsys: pytest.CaptureFixture[str]) -> None:
    G, path = save()
    assert main(["contributions", path, "--images", "10", "--batch-size", "4"]) == 0
    out = capsys.readouterr().out
    expected = layer_contributions(G, styles(G, range(10)), batch_size=10)
    assert rows(out) == {res: [pytest.approx(share, abs=0.051)] for res, share in expected.items()}  # one decimal
    assert out.endswith("standard deviation of the pixels that each resolution adds, over 10 images\n")


@pytest.mark.parametrize("options", [[], ["--class", "1"]])
def test_an_archive_adds_bands_and_labels(
    options: list[str], save: Save, tiny_archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, path = save(c_dim=2)
    assert main(["contributions", path, "--archive", str(tiny_archive), "--images", "30", *options]) == 0
    table = rows(capsys.readouterr().out)
    assert list(table) == [4, 8, 16]
    for column in zip(*table.values(), strict=True):
        assert sum(column) == pytest.approx(100, abs=0.2)


def test_other_architectures_show_bands_only_and_say_why(
    save: Save, tiny_archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, path = save("resnet")
    assert main(["contributions", path, "--archive", str(tiny_archive), "--images", "4"]) == 0
    out = capsys.readouterr().out
    assert {len(cells) for cells in rows(out).values()} == {2}
    assert out.endswith("over 4 images; contributions need architecture skip, this is resnet\n")
    assert main(["contributions", path]) == 1
    assert "layer contributions are not defined for generator.architecture resnet" in capsys.readouterr().err


def test_an_archive_of_other_images_is_refused(
    save: Save, tiny_archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, path = save(img_resolution=32)
    assert main(["contributions", path, "--archive", str(tiny_archive)]) == 1
    assert capsys.readouterr().err == (
        f"error: {tiny_archive}: images of 16 pixels and 3 channels; this generator makes 32 pixels and 3. "
        "Name the archive that it was trained on.\n"
    )


def test_rows_of_other_shapes_say_their_size(save: Save, capsys: pytest.CaptureFixture[str]) -> None:
    _, path = save(img_resolution=(20, 24))
    assert main(["contributions", path, "--images", "2"]) == 0
    cells = [line.split("│")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert cells == ["[5, 6]", "[10, 12]", "[20, 24]"]


def test_a_conditional_generator_needs_a_class_or_an_archive(save: Save, capsys: pytest.CaptureFixture[str]) -> None:
    _, path = save(c_dim=2)
    assert main(["contributions", path]) == 1
    assert capsys.readouterr().err == "error: this generator is conditional. Choose a class from 0 to 1.\n"


def test_programs_read_the_shares_as_json(save: Save, tiny_archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, path = save()
    assert main(["contributions", path, "--archive", str(tiny_archive), "--images", "4", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["images"] == 4
    assert [row["pixels"] for row in answer["percent"]] == ["4", "8", "16"]
    for name in ("contribution", "bands, generated", "bands, real"):
        assert sum(row[name] for row in answer["percent"]) > 0
