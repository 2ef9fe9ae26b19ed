"""The truncation sweep on real Ray workers: equal to measuring in this process, and failing with the psi named."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from pipelines.artifacts import metrics_json
from pipelines.cluster.connection import connect
from pipelines.evaluate.on_cluster import make_evaluator, measure_on_cluster
from pipelines.evaluate.trained import evaluate
from pipelines.params import Params
from stylegan.checkpoint import load_generator, save_generator
from stylegan.data import ImageDataset
from stylegan.files import sha256_of
from stylegan.metrics.evaluation.evaluator import Sweep, untrained_like
from stylegan.networks import Generator
from tests.evaluation_results import write_train_record
from tests.measuring import measured_here

pytestmark = pytest.mark.distributed


@pytest.fixture(scope="module")
def params(make_params: Callable[..., Params]) -> Params:
    return make_params("evaluate.truncation_psi=[0.5, 1.0]")


@pytest.fixture(scope="module")
def ray(tiny_params: Params) -> Iterator[None]:
    with connect(tiny_params.cluster):
        yield


@pytest.fixture(scope="module")
def root(tiny_params: Params, tiny_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work tree as training leaves it."""
    root = tmp_path_factory.mktemp("evaluate")
    torch.manual_seed(1)
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0)
    G.mapping.w_avg.normal_()
    save_generator(G, root / "models" / "generator.safetensors")
    write_train_record(root, archive_sha256=sha256_of(tiny_archive))
    (root / "data").mkdir()
    (root / "data" / "archive.zip").write_bytes(tiny_archive.read_bytes())
    return root


def train_split(root: Path) -> ImageDataset:
    return ImageDataset(root / "data" / "archive.zip", use_labels=False, xflip=False, split="train", max_images=None)


WRITTEN = ("metrics.json", "headline.json", "psi_sweep.csv", "neighbors.png", "realism.png")


def test_stage_writes_its_reports_and_repeats_itself(ray: None, params: Params, root: Path) -> None:
    report = evaluate(params, root, root / "state")
    reports = root / "reports"
    first = [(reports / name).read_bytes() for name in WRITTEN]
    assert metrics_json.read(reports / "metrics.json") == report
    content = json.loads(first[0])
    assert list(content) == [
        "version", "extractor", "num_images", "num_real", "floor_num_images", "floor_num_real", "floor_num_splits",
        "seed", "resize_filter", "prepare_resize_filter", "split", "archive_sha256", "generator_sha256", "cur_nimg",
        "measures", "metrics", "intervals", "confidence", "floor", "floor_sd", "like_floor", "like_floor_sd",
        "untrained", "truncation", "recommended", "neighbors", "realism", "per_class", "failures", "infinity", "notes",
    ]  # fmt: skip
    assert (content["num_images"], content["num_real"], content["floor_num_images"]) == (8, 18, 8)
    assert (content["cur_nimg"], content["split"], content["seed"]) == (32, "train", 0)
    pr = ["precision_random", "recall_random", "density_random", "coverage_random"]
    names = ["kid_random", "frechet_random", *pr, "memorized_8px", "ppl_random"]
    assert list(content["metrics"]) == list(content["untrained"]) == names
    assert [row["psi"] for row in content["truncation"]] == [0.5, 1.0]
    untruncated = {"psi": 1.0, "metrics": content["metrics"], "intervals": content["intervals"]}
    assert content["truncation"][-1] == untruncated
    assert content["recommended"]["psi"] in (0.5, 1.0)
    assert len(content["neighbors"]["rows"]) == params.evaluate.neighbors_num_shown
    with (reports / "psi_sweep.csv").open(newline="") as file:
        rows = [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(file)]
    assert [row["kid_random"] for row in rows] == [row["metrics"]["kid_random"] for row in content["truncation"]]

    evaluate(params, root, root / "state")
    assert [(reports / name).read_bytes() for name in WRITTEN] == first


def test_two_workers_measure_what_one_process_measures(
    ray: None, make_params: Callable[..., Params], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = make_params("cluster.num_workers=2", "train.batch_size=8")
    evaluator = make_evaluator(params.evaluate, train_split(root), root / "none")
    G = load_generator(root / "models" / "generator.safetensors")
    sweeps = [Sweep("generator", G, (0.5, 1.0)), Sweep("untrained generator", untrained_like(G, 1), (1.0,))]
    found = measure_on_cluster(evaluator, sweeps, train_split(root), root / "two", params)
    alone = measured_here(evaluator, sweeps, train_split(root))
    assert [one.numbers for one in found[:-1]] == [one.numbers for one in alone[:-1]]
    assert [one.intervals for one in found] == [one.intervals for one in alone]
    assert found[-1].numbers.items() >= alone[-1].numbers.items()
    # 18 real images, and for each of three measurements 8 images and 4 pairs
    assert "measuring 66/66 images, 0 s left" in capsys.readouterr().out


def test_failed_measurement_is_named_with_the_reason(ray: None, make_params: Callable[..., Params], root: Path) -> None:
    evaluator = make_evaluator(make_params("evaluate.metrics=[kid, is]").evaluate, train_split(root), root / "none")
    sweep = Sweep("generator", load_generator(root / "models" / "generator.safetensors"), (0.5,))
    measured, _ = measure_on_cluster(evaluator, [sweep], train_split(root), root / "state", make_params())
    (failure,) = measured.failures
    assert failure.reason.startswith("inception score: the extractor random has no class")
    assert measured.metrics, "what could be measured is kept"
