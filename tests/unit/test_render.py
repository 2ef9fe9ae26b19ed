"""The render stage: every file it promises, from the files of the other stages."""

import base64
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipelines.artifacts import metrics_json
from pipelines.artifacts.metrics_json import Neighbors, Realism
from pipelines.drawing.sheets import LONGEST, labelled_sheet
from pipelines.params import Params
from pipelines.render.latent_pictures import mixing_sheet, noise_sheet, style_bands, walk_keys
from pipelines.render.pictures import (
    augmented_sheet,
    choose_reals,
    compare_bands,
    labels_for,
    samples_sheet,
    sheet_columns,
)
from pipelines.render.report import RenderError, evaluated_picture, render
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
    sheets = {f"{name}.png" for name in ("samples", "reals", "augmented", "truncation", "mixing", "noise", "walk")}
    charts = {"training.png", "frontier.png", "layers.png"}
    assert written == sheets | charts | {"interpolation.mp4", "index.html"}
    sizes = {}
    for name in sheets:
        with Image.open(page.parent / name) as picture:
            sizes[name] = picture.size
    # Four pictures make three columns and two rows; the strip is two seeds by three psi, with room for labels.
    assert sizes["reals.png"] == (96, 64)
    assert sizes["samples.png"] == (96, 64 + 2 * 21)  # with seeds below
    assert sizes["truncation.png"] > (96, 64)
    assert "abc123" in page.read_text()
    assert base64.b64encode(b"neighbors").decode() in page.read_text()


def test_a_sheet_that_evaluate_drew_and_that_is_lost_names_the_stage(root: Path, tiny_params: Params) -> None:
    sheet = root / "reports/neighbors.png"
    sheet.write_bytes(b"neighbors")
    assert "bmVpZ2hib3Jz" not in render(tiny_params, root).read_text()  # left from an earlier evaluation
    assert evaluated_picture(sheet) == b"neighbors"
    sheet.unlink()
    with pytest.raises(RenderError) as error:
        evaluated_picture(sheet)
    assert str(error.value) == f"{sheet}: file not found. Run `dvc repro evaluate`, which writes it."


def test_the_page_shows_the_best_and_the_worst_where_they_were_judged(root: Path, tiny_params: Params) -> None:
    assert "The best and the worst" not in render(tiny_params, root).read_text()
    judged = Realism(best=(3, 1), best_scores=(1.2, 1.1), worst=(2, 0), worst_scores=(0.4, 0.3))
    metrics_json.write(root / "reports/metrics.json", RESULTS.model_copy(update={"realism": judged}))
    (root / "reports/realism.png").write_bytes(b"realism")
    page = render(tiny_params, root).read_text()
    assert "The best and the worst" in page
    assert base64.b64encode(b"realism").decode() in page


def test_the_page_counts_the_images_of_the_film_that_there_are(root: Path, make_params: Callable[..., Params]) -> None:
    judged = Realism(best=(3, 1), best_scores=(1.2, 1.1), worst=(2, 0), worst_scores=(0.4, 0.3))
    metrics_json.write(root / "reports/metrics.json", RESULTS.model_copy(update={"realism": judged}))
    (root / "reports/realism.png").write_bytes(b"realism")
    page = render(make_params("render.interpolation_images=4"), root).read_text()
    assert "Interpolation in w between 2 images, the most realistic ones," in page


def test_the_walk_goes_between_the_most_realistic_images(root: Path, tiny_params: Params) -> None:
    data = ImageDataset(root / "data/archive.zip", use_labels=False, xflip=False, split="train", max_images=None)
    G = generator(tiny_params, 0)
    judged = Realism(best=(3, 1), best_scores=(1.2, 1.1), worst=(2, 0), worst_scores=(0.4, 0.3))
    keys = walk_keys(tiny_params, G, data, RESULTS.model_copy(update={"realism": judged}))
    in_order = walk_keys(tiny_params, G, data, RESULTS)  # images 0 and 1
    assert torch.equal(keys[1], in_order[1])
    assert not torch.equal(keys[0], in_order[0])


@pytest.mark.parametrize(
    ("num_ws", "bands"),
    [
        (4, {"coarse": (0, 1), "fine": (2, 3)}),
        (6, {"coarse": (0, 1), "middle": (2, 3), "fine": (4, 5)}),
        (8, {"coarse": (0, 3), "middle": (4, 5), "fine": (6, 7)}),
        (10, {"coarse": (0, 3), "middle": (4, 7), "fine": (8, 9)}),
        (18, {"coarse": (0, 3), "middle": (4, 7), "fine": (8, 17)}),
    ],
)
def test_bands_of_styles_are_the_published_ones_and_hold_every_style_once(
    num_ws: int, bands: dict[str, tuple[int, int]]
) -> None:
    found = style_bands(num_ws)
    assert {name: (band[0], band[-1]) for name, band in found.items()} == bands
    assert [layer for band in found.values() for layer in band] == list(range(num_ws))


@pytest.mark.parametrize("use_noise", ["true", "false"])
def test_noise_alone_changes_images_only_where_there_is_some(
    make_params: Callable[..., Params], use_noise: str
) -> None:
    params = make_params(f"generator.use_noise={use_noise}", "render.video_scale=1", "render.mixing_cols=[1, 2]")
    G = generator(params, 0)
    for name, strength in G.named_parameters():
        if name.endswith("noise_strength"):
            strength.fill_(1.0)
    sheet = noise_sheet(params, G, torch.zeros(len(params.render.mixing_rows), 0))
    cells = [sheet.crop((sheet.width - 48 + 16 * i, sheet.height - 16, sheet.width - 32 + 16 * i, sheet.height))
             for i in range(3)]  # fmt: skip
    assert (cells[0].tobytes() != cells[1].tobytes()) is (use_noise == "true")
    assert cells[2].getextrema()[0][1] == (255 if use_noise == "true" else 0)


def test_real_images_are_shown_as_d_saw_them(root: Path, make_params: Callable[..., Params]) -> None:
    data = ImageDataset(root / "data/archive.zip", use_labels=False, xflip=False, split="train", max_images=None)
    reals, _ = choose_reals(data, 4, 0)
    sheets = {
        (mode, p): augmented_sheet(make_params(f"augment.mode={mode}", "render.video_scale=1"), reals, p).tobytes()
        for mode, p in (("ada", 0.0), ("ada", 0.6), ("none", 0.0), ("diffaugment", 0.0))
    }
    assert sheets["ada", 0.0] == sheets["none", 0.0]
    assert len(set(sheets.values())) == 3


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


def test_a_seed_mixed_with_itself_is_itself_in_every_band_and_the_corner_is_empty(
    make_params: Callable[..., Params],
) -> None:
    params = make_params("render.mixing_rows=[5]", "render.mixing_cols=[5, 6]", "render.video_scale=1")
    sheet = mixing_sheet(params, generator(params, 0), torch.zeros(1, 0))
    cells = sheet.crop((sheet.width - 48, sheet.height - 64, sheet.width, sheet.height))
    table = [[cells.crop((x, y, x + 16, y + 16)) for x in (0, 16, 32)] for y in (0, 16, 32, 48)]
    assert table[0][0].getextrema() == ((255, 255),) * 3
    for row in table[1:]:
        assert row[0].tobytes() == row[1].tobytes() == table[0][1].tobytes()
        assert row[2].tobytes() != row[0].tobytes()
    assert len({row[2].tobytes() for row in table[1:]}) == 3


def test_a_sheet_that_is_longer_than_a_screen_is_reduced() -> None:
    sheet = labelled_sheet(torch.zeros(6, 3, 1024, 8, dtype=torch.uint8), 1, 1)
    assert (sheet.width, sheet.height) == (6, LONGEST)


def test_the_rarest_class_is_among_the_real_images_that_are_shown(tiny_archive: Path) -> None:
    data = ImageDataset(tiny_archive, use_labels=True, xflip=True, split="train", max_images=None)
    assert data.labels(range(9)).sum(dim=0).tolist() == [9, 0], "an archive is in the order of its classes"
    for seed in range(8):
        assert choose_reals(data, 4, seed)[1].sum(dim=0).tolist() == [2, 2]
    img, _ = choose_reals(data, 1000, seed=0)
    assert len(img) == len(data) == len(img.flatten(1).unique(dim=0))
