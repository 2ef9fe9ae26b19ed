"""Every ladder there is: it loads, its rows fit params.yaml, differ, train, and can be measured."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from pipelines.evaluate.on_cluster import make_evaluator
from pipelines.ladders import ladder
from pipelines.ladders.ladder import FIGURES, Ladder, of_row
from pipelines.params import TRAINED_SECTIONS, Params, fingerprint, load
from pipelines.prepare import prepare
from pipelines.train.identity import open_training_set
from pipelines.train.start import start
from stylegan.analysis.peaks import feature_peaks
from stylegan.config import ConfigError
from stylegan.config.strict import parse
from stylegan.data import ImageDataset
from stylegan.metrics.evaluation.evaluator import Sweep
from stylegan.train import train
from tests.measuring import measured_here

Make = Callable[..., Params]

LADDERS = ladder.names()
ROWS = [(name, row.name) for name in LADDERS for row in ladder.load(name).rows]
AT_32 = {("categories", "filter"), ("categories", "all")}  # image-space filters reach farther than 16 pixels
NUM_IMAGES = 18


def overlay(name: str, row: str, params: Params) -> Params:
    return of_row(params, ladder.load(name), row, lambda: NUM_IMAGES)


def test_the_ladders_are_those_that_are_promised() -> None:
    assert LADDERS == [
        "architectures", "augment", "categories", "demo", "loss", "mapping", "noise", "sizes", "stylegan2",
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_every_row_fits_params_yaml_and_the_smallest_images(
    name: str, row: str, repository: Path, make_params: Make
) -> None:
    params = load(repository / "params.yaml")
    full = overlay(name, row, params)
    assert full.train.total_kimg == params.ablate.total_kimg
    assert full.evaluate.truncation_psi == (1.0,)
    assert full.evaluate.metrics == params.ablate.metrics
    if (name, row) in AT_32:
        with pytest.raises(ConfigError, match="imgfilter"):
            overlay(name, row, make_params())
    else:
        overlay(name, row, make_params())


@pytest.mark.parametrize("name", LADDERS)
def test_rows_of_a_ladder_are_different_runs(name: str, repository: Path) -> None:
    params = load(repository / "params.yaml")
    rows = [overlay(name, row.name, params) for row in ladder.load(name).rows]
    assert len({fingerprint(each, sections=TRAINED_SECTIONS) for each in rows}) == len(rows)


# Rows, trained and measured. Many rows of different ladders are one run at this size.


@pytest.fixture(scope="module")
def at_32(tmp_path_factory: pytest.TempPathFactory, make_params: Make, write_pictures: Callable[..., None]) -> Path:
    """Archive of 12 pictures of 32 x 32, 9 to train"""
    folder = tmp_path_factory.mktemp("at_32")
    write_pictures(folder / "images", 12, size=32)
    config = make_params(
        "prepare.resolution=32", f"prepare.source={folder / 'images'}", "prepare.holdout_fraction=0.25"
    ).prepare
    prepare(config, folder / "archive.zip", folder / "manifest.json", earth=folder / "none.jpg", workers=1)
    return folder / "archive.zip"


@pytest.fixture(scope="module")
def trained_and_measured(
    tiny_archive: Path, at_32: Path, make_params: Make
) -> Iterator[Callable[..., dict[str, float]]]:
    """trained_and_measured(ladder, row) -> numbers of a generator after two steps, at psi 1"""
    known: dict[str, dict[str, float]] = {}

    def run(name: str, row: str) -> dict[str, float]:
        size = ["prepare.resolution=32"] if (name, row) in AT_32 else []
        params = overlay(name, row, make_params(*size, "ablate.total_kimg=0.008"))
        key = fingerprint(params, sections=(*TRAINED_SECTIONS, "evaluate"))
        if key not in known:
            known[key] = trained(params, at_32 if size else tiny_archive)
        return known[key]

    yield run
    assert len(known) < len(ROWS)


def trained(params: Params, archive: Path) -> dict[str, float]:
    dataset = open_training_set(archive, params)
    assert params.data.max_images in (None, len(dataset) // (2 if params.data.xflip else 1))
    state, _ = start(params, dataset, None, torch.device("cpu"))
    ticks = list(train(state, dataset))
    assert all(math.isfinite(value) for tick in ticks for value in tick.stats.values())
    assert ticks[-1].cur_nimg == 8
    peaks = feature_peaks(state.G_ema, torch.randn(2, state.G_ema.num_ws, 8), batch_size=2)
    assert sorted(peaks) == [4, 8, 16, 32][: len(state.G_ema.synthesis.block_resolutions)]
    real = ImageDataset(archive, use_labels=False, xflip=False, split="train", max_images=None)
    evaluator = make_evaluator(params.evaluate, real, archive)
    (found, *_) = measured_here(evaluator, [Sweep("generator", state.G_ema, (1.0,))], real)
    return found.numbers


@pytest.mark.parametrize(("name", "row"), ROWS)
def test_every_row_trains_and_is_measured(
    name: str, row: str, trained_and_measured: Callable[..., dict[str, float]]
) -> None:
    numbers = trained_and_measured(name, row)
    assert {"kid_random", "frechet_random", "precision_random", "recall_random", "ppl_random"} <= numbers.keys()
    assert all(math.isfinite(value) for value in numbers.values())


# What a file may say.


def made(**sections: object) -> Ladder:
    rows = [{"name": "A", "label": "a", "params": {"loss.r1_gamma": 3.0}}]
    return parse(
        Ladder, {"name": "x", "title": "t", "question": "q", "source": "s", "rows": rows, **sections}, "x.yaml"
    )


def rows(*changes: dict[str, object]) -> Ladder:
    return made(rows=[{"name": f"r{i}", "label": "", **change} for i, change in enumerate(changes)])


def test_a_row_keeps_the_values_of_the_row_that_it_is_laid_over(tiny_params: Params) -> None:
    found = made(
        base={"loss.r1_gamma": 1.0, "train.g_lr": 0.1},
        rows=[
            {"name": "A", "label": "", "params": {"loss.r1_gamma": 2.0}},
            {"name": "B", "label": "", "over": "A", "params": {"train.d_lr": 0.2}},
            {"name": "C", "label": "", "over": "B", "params": {"loss.r1_gamma": 4.0}},
            {"name": "D", "label": "", "params": {"train.d_lr": 0.3}},
        ],
    )
    values = [found.values(name, tiny_params.model_dump(mode="json"), lambda: 0) for name in "ABCD"]
    assert values == [
        {"loss.r1_gamma": 2.0, "train.g_lr": 0.1},
        {"loss.r1_gamma": 2.0, "train.g_lr": 0.1, "train.d_lr": 0.2},
        {"loss.r1_gamma": 4.0, "train.g_lr": 0.1, "train.d_lr": 0.2},
        {"loss.r1_gamma": 1.0, "train.g_lr": 0.1, "train.d_lr": 0.3},
    ]


def test_a_row_is_compared_with_the_row_below_it_or_the_one_that_it_names() -> None:
    found = made(
        rows=[
            {"name": "A", "label": ""},
            {"name": "B", "label": "", "over": "A"},
            {"name": "C", "label": "", "over": "B", "against": "A"},
            {"name": "D", "label": "", "against": "E"},
            {"name": "E", "label": ""},
        ],
    )
    compared = [found.compared_with(row) for row in found.rows]
    assert [row and row.name for row in compared] == [None, "A", "A", "E", None]


def test_sizes_are_compared_at_the_same_number_of_images() -> None:
    found = ladder.load("sizes")
    pairs = [(row, other) for row in found.rows if (other := found.compared_with(row))]
    assert len(pairs) == 4
    assert all(row.params["data.max_images"] == other.params["data.max_images"] for row, other in pairs)


@pytest.mark.parametrize(("share", "count"), [(0.125, 2), (0.5, 9), (1, None), (0.001, 1)])
def test_a_fraction_of_the_images_is_counted_in_the_archive(
    share: float, count: int | None, tiny_params: Params, tiny_archive: Path
) -> None:
    assert ladder.num_images(tiny_archive) == NUM_IMAGES
    found = rows({"params": {"data.max_images": {"fraction": share}}})
    params = of_row(tiny_params, found, "r0", lambda: ladder.num_images(tiny_archive))
    assert params.data.max_images == count


def test_a_fraction_of_a_duration_is_one_of_the_whole_run(make_params: Make) -> None:
    found = rows({"params": {"train.ema_kimg": {"fraction": 0.024}}})
    assert of_row(make_params("ablate.total_kimg=25000"), found, "r0", lambda: 0).train.ema_kimg == 600


def test_times_multiplies_the_value_below(make_params: Make) -> None:
    twice = {"generator.channel_base": {"times": 2}, "train.g_lr": {"times": 0.5}}
    found = rows({"params": twice}, {"over": "r0", "params": twice})
    params = make_params("generator.channel_base=100", "train.g_lr=0.01")
    values = found.values("r1", params.model_dump(mode="json"), lambda: 0)
    assert values == {"generator.channel_base": 400, "train.g_lr": pytest.approx(0.0025)}
    assert isinstance(values["generator.channel_base"], int)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            [{"params": {"loss.r1_gama": 1.0}}],
            "ladder x, row r0: loss.r1_gama is not a parameter; did you mean loss.r1_gamma?",
        ),
        (
            [{"params": {"train.ema_rampup": {"times": 2}}}],
            "ladder x: train.ema_rampup is {'times': 2}; expected a value, {times: 2} for a multiple of the value "
            "below, or {fraction: 0.5}, which data.max_images and durations in kimg can be, up to 1.",
        ),
        (
            [{"params": {"data.max_images": {"fraction": 1.5}}}],
            "ladder x: data.max_images is {'fraction': 1.5}; expected a value, {times: 2} for a multiple of the value "
            "below, or {fraction: 0.5}, which data.max_images and durations in kimg can be, up to 1.",
        ),
        (
            [{"params": {"train.g_lr": {"fraction": 0.5}}}],
            "ladder x: train.g_lr is {'fraction': 0.5}; expected a value, {times: 2} for a multiple of the value "
            "below, or {fraction: 0.5}, which data.max_images and durations in kimg can be, up to 1.",
        ),
    ],
)
def test_a_value_that_means_nothing_is_named(changes: list[dict[str, object]], message: str, make_params: Make) -> None:
    with pytest.raises(ConfigError) as caught:
        of_row(make_params("train.ema_rampup=null"), rows(*changes), "r0", lambda: 0)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: rows({"over": "r1"}, {}), "x.yaml: rows: r0 is laid over r1, which is not an earlier row."),
        (lambda: rows({"name": "a"}, {"name": "a"}), "x.yaml: rows: a appears twice. Rename one of them."),
        (
            lambda: rows({"published": {"FFHQ": {"fid": 4.0, "from_memory": ["ppl"]}}}),
            "x.yaml: from_memory names ppl, which is not a figure of this ladder. Remove it.",
        ),
        (lambda: ladder.load("stylegan3"), "stylegan3 is not a ladder; did you mean stylegan2?"),
        (lambda: ladder.load("noise").row("on"), "ladder noise: on is not a row; known keys: with, without"),
    ],
)  # fmt: skip
def test_a_ladder_that_is_none_is_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build()
    assert str(caught.value).split("\n")[0] == message


def test_figures_of_memory_are_marked_in_the_files() -> None:
    # Of Table 1 of Karras et al. 2020 only these were looked up.
    found = {
        (row.name, data): sorted(set(FIGURES) - set(figures.from_memory))
        for row in ladder.load("stylegan2").rows
        for data, figures in row.published.items()
    }
    assert found[("F", "FFHQ 1024")] == sorted(FIGURES)
    assert found[("F", "LSUN Car 512x384")] == ["fid"]
    assert all(looked_up == ["fid"] for (name, data), looked_up in found.items() if name != "F" and "FFHQ" in data)
    assert all(looked_up == [] for (name, data), looked_up in found.items() if name != "F" and "Car" in data)


def test_keys_are_not_what_yaml_takes_for_something_else(repository: Path) -> None:
    for path in (repository / "pipelines" / "ladders").glob("*.yaml"):
        for row in yaml.safe_load(path.read_text())["rows"]:
            assert all(isinstance(key, str) for key in row), f"{path}: {row}"
