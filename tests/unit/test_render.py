"""The render stage: every file it promises, from the files of the other stages."""

import base64
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipelines.artifacts import metrics_json
from pipelines.artifacts.metrics_json import Neighbors
from pipelines.params import Params
from pipelines.render.pictures import (
    choose_reals,
    compare_bands,
    labels_for,
    mixing_sheet,
    samples_sheet,
    sheet_columns,
)
from pipelines.render.report import RenderError, neighbor_picture, render
from stylegan.analysis.contributions import band_energies
from stylegan.checkpoint import save_generator
from stylegan.data import ImageDataset
from stylegan.drawing.generate import generate_images
from stylegan.images import to_float
from stylegan.networks import Generator
from tests.evaluation_results import evaluation_results, truncation, write_train_record

NUMBERS = {"kid_x": 0.1, "fid_x": 10.0, "precision_x": 0.5, "recall_x": 0.5}
RESULTS = evaluation_results(
    NUMBERS, floor=NUMBERS, untrained=NUMBERS, sweep=[truncation(psi, NUMBERS) for psi in (0.5, 1.0)]
)
NEIGHBORS = Neighbors(k=1, rows=(7,), distance=((0.1,),), spacing=(0.2,))


def generator(params: Params, c_dim: int) -> Generator:
    torch.manual_seed(0)
    return Generator(params.generator, img_resolution=16, img_channels=3, c_dim=c_dim).eval().requires_grad_(False)


@pytest.fixture
def root(tmp_path: Path, tiny_archive: Path, tiny_params: Params) -> Path:
    """A work tree after evaluate."""
    (tmp_path / "data").mkdir()
    shutil.copyfile(tiny_archive, tmp_path / "data/archive.zip")
    save_generator(generator(tiny_params, 0), tmp_path / "models/generator.safetensors")
    write_train_record(tmp_path, fingerprint="abc123")
    (tmp_path / "reports").mkdir()
    metrics_json.write(tmp_path / "reports/metrics.json", RESULTS)
    (tmp_path / "reports/ticks.csv").write_text("nimg,kimg,sec,loss/G,loss/D\n1000,1,2,1,1\n2000,2,2,1,1\n")
    return tmp_path


def test_pictures_are_drawn_with_as_many_threads_as_a_worker_has(root: Path, tiny_params: Params) -> None:
    """A small batch is shared out over threads within a picture, and is rounded otherwise for each number of them."""
    torch.set_num_threads(2)
    render(tiny_params, root)
    assert torch.get_num_threads() == tiny_params.cluster.cpus_per_worker == 1


def test_every_file_is_written_and_the_pictures_have_their_size(root: Path, make_params: Callable[..., Params]) -> None:
    metrics_json.write(root / "reports/metrics.json", RESULTS.model_copy(update={"neighbors": NEIGHBORS}))
    (root / "reports/neighbors.png").write_bytes(b"neighbors")
    page = render(make_params("render.video_scale=2", "render.psi_strip=[-1.0, 0.0, 1.0]"), root)
    assert page == root / "reports/index.html"
    written = {path.name for path in page.parent.iterdir()} - {"metrics.json", "ticks.csv", "neighbors.png"}
    sheets = {"samples.png", "reals.png", "truncation.png", "mixing.png"}
    charts = {"training.png", "frontier.png", "layers.png"}
    assert written == sheets | charts | {"interpolation.mp4", "index.html"}
    sizes = {}
    for name in sheets:
        with Image.open(page.parent / name) as picture:
            sizes[name] = picture.size
    # Four pictures make three columns and two rows; the strip is two seeds by three psi, with room for labels.
    assert sizes["samples.png"] == sizes["reals.png"] == (96, 64)
    assert sizes["truncation.png"] > (96, 64)
    assert "abc123" in page.read_text()
    assert base64.b64encode(b"neighbors").decode() in page.read_text()


def test_the_sheet_of_neighbours_belongs_to_results_that_have_them(tmp_path: Path) -> None:
    sheet = tmp_path / "neighbors.png"
    sheet.write_bytes(b"neighbors")
    assert neighbor_picture(RESULTS, tmp_path) is None  # left from an earlier evaluation
    found = RESULTS.model_copy(update={"neighbors": NEIGHBORS})
    assert neighbor_picture(found, tmp_path) == b"neighbors"
    sheet.unlink()
    with pytest.raises(RenderError) as error:
        neighbor_picture(found, tmp_path)
    assert str(error.value) == f"{sheet}: file not found. Run `dvc repro evaluate`, which writes it."


def test_rendering_twice_gives_equal_bytes(root: Path, tiny_params: Params) -> None:
    reports = render(tiny_params, root).parent
    first = {path.name: path.read_bytes() for path in reports.iterdir()}
    render(tiny_params, root)
    assert {path.name: path.read_bytes() for path in reports.iterdir()} == first


@pytest.mark.parametrize(("lost", "stage_name"), [("reports/metrics.json", "evaluate"), ("models/train.json", "train")])
def test_a_missing_file_names_the_stage_that_writes_it(
    root: Path, tiny_params: Params, lost: str, stage_name: str
) -> None:
    (root / lost).unlink()
    with pytest.raises(FileNotFoundError) as error:
        render(tiny_params, root)
    assert str(error.value) == f"{root / lost}: file not found. Run `dvc repro {stage_name}`, which writes it."


@pytest.mark.parametrize("architecture", ["orig", "resnet"])
def test_an_architecture_without_contributions_is_rendered_with_bands_alone(
    architecture: str, root: Path, make_params: Callable[..., Params]
) -> None:
    params = make_params(f"generator.architecture={architecture}")
    save_generator(generator(params, 0), root / "models/generator.safetensors")
    page = render(params, root).read_text()
    assert '<th scope="col" class="n">bands of real images, %</th>' in page
    assert "What each\n  resolution contributes is not in the training log" in page
    assert (root / "reports/layers.png").exists()


def test_bands_are_of_as_many_generated_as_real_images(root: Path, make_params: Callable[..., Params]) -> None:
    data = ImageDataset(root / "data/archive.zip", use_labels=False, xflip=False, split="train", max_images=None)
    params = make_params("render.num_seeds=4")
    G = generator(params, 0)
    bands = compare_bands(params, G, data)
    img = choose_reals(data, 4, params.evaluate.seed)[0]
    assert bands["real"] == band_energies([to_float(img)], [4, 8, 16])
    gen = generate_images(G, range(4), psi=1.0, batch_size=4)
    assert bands["generated"] == band_energies([to_float(gen)], [4, 8, 16])


def test_real_images_are_chosen_by_seed_without_repetition(tiny_archive: Path) -> None:
    data = ImageDataset(tiny_archive, use_labels=False, xflip=False, split="all", max_images=None)
    first, _ = choose_reals(data, 6, seed=0)
    assert torch.equal(first, choose_reals(data, 6, seed=0)[0])
    assert not torch.equal(first, choose_reals(data, 6, seed=1)[0])
    everything, c = choose_reals(data, 1000, seed=0)
    assert (len(everything), c.shape) == (len(data), (len(data), 0))


def test_both_sheets_of_a_conditional_run_hold_the_same_classes(
    tiny_archive: Path, make_params: Callable[..., Params]
) -> None:
    params = make_params("render.num_seeds=4")
    data = ImageDataset(tiny_archive, use_labels=True, xflip=False, split="all", max_images=None)
    G = generator(params, data.c_dim)
    c = torch.eye(2)
    sheets = [samples_sheet(params, G, labels) for labels in (c, c.flip(0), torch.eye(2)[[0, 1, 0, 1]])]
    assert sheets[0].tobytes() != sheets[1].tobytes()
    assert sheets[0].tobytes() == sheets[2].tobytes()


def test_labels_repeat_until_there_are_enough() -> None:
    assert labels_for(torch.tensor([[1.0], [2.0]]), 5).flatten().tolist() == [1, 2, 1, 2, 1]
    assert labels_for(torch.zeros(3, 0), 2).shape == (2, 0)


@pytest.mark.parametrize(("count", "columns"), [(60, 10), (4, 3), (1, 2)])
def test_sheets_are_a_little_wider_than_high(count: int, columns: int) -> None:
    assert sheet_columns(count) == columns


def test_a_mixture_without_layers_repeats_its_row_and_the_corner_is_empty(make_params: Callable[..., Params]) -> None:
    params = make_params(
        "render.mixing_layers=[0]", "render.mixing_rows=[5]", "render.mixing_cols=[5, 6]", "render.video_scale=1"
    )
    sheet = mixing_sheet(params, generator(params, 0), torch.zeros(1, 0))
    cells = sheet.crop((sheet.width - 48, sheet.height - 32, sheet.width, sheet.height))
    corner, source, own, row, same = (
        cells.crop(box) for box in ((0, 0, 16, 16), (16, 0, 32, 16), (32, 0, 48, 16), (0, 16, 16, 32), (16, 16, 32, 32))
    )
    assert corner.getextrema() == ((255, 255),) * 3
    assert row.tobytes() == source.tobytes() == same.tobytes()  # seed 5 mixed with seed 5 is seed 5
    assert own.tobytes() != row.tobytes()


def test_the_rarest_class_is_among_the_real_images_that_are_shown(tiny_archive: Path) -> None:
    data = ImageDataset(tiny_archive, use_labels=True, xflip=True, split="train", max_images=None)
    assert data.labels(range(9)).sum(dim=0).tolist() == [9, 0], "an archive is in the order of its classes"
    for seed in range(8):
        assert choose_reals(data, 4, seed)[1].sum(dim=0).tolist() == [2, 2]
    img, _ = choose_reals(data, 1000, seed=0)
    assert len(img) == len(data) == len(img.flatten(1).unique(dim=0))
