"""The truncation sweep under a real Ray Tune: equal to measuring in this process, and failing with the psi named."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from pipelines.cluster import connect
from pipelines.evaluate import (
    EvaluationError,
    evaluate,
    extract_on,
    make_evaluator,
    measure_all,
    rounded,
    subjects_of,
)
from pipelines.params import Params
from stylegan.checkpoint import load_generator, save_generator
from stylegan.data import ImageDataset
from stylegan.files import sha256_of
from stylegan.metrics.evaluator import extract
from stylegan.metrics.extractors import RandomExtractor
from stylegan.metrics.sampling import real_batches
from stylegan.networks import Generator

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
    record = {"fingerprint": "abc", "archive_sha256": sha256_of(tiny_archive), "cur_nimg": 32, "seed": 0}
    (root / "models" / "train.json").write_text(json.dumps(record))
    (root / "data").mkdir()
    (root / "data" / "archive.zip").write_bytes(tiny_archive.read_bytes())
    return root


def train_split(root: Path) -> ImageDataset:
    return ImageDataset(root / "data" / "archive.zip", use_labels=False, xflip=False, split="train", max_images=None)


def test_stage_writes_both_reports_and_repeats_itself(ray: None, params: Params, root: Path) -> None:
    results = evaluate(params, root, root / "state")
    reports = root / "reports"
    first = (reports / "metrics.json").read_bytes(), (reports / "psi_sweep.csv").read_bytes()
    assert json.loads(first[0]) == results
    assert list(results) == [
        "extractor", "num_images", "num_real", "floor_num_images", "seed", "resize_filter", "split", "archive_sha256",
        "cur_nimg", "metrics", "floor", "untrained", "truncation",
    ]  # fmt: skip
    assert (results["num_images"], results["num_real"], results["floor_num_images"]) == (8, 18, 8)
    assert (results["cur_nimg"], results["split"], results["seed"]) == (32, "train", 0)
    names = ["kid_random", "frechet_random", "precision_random", "recall_random", "ppl_random"]
    assert list(results["metrics"]) == list(results["untrained"]) == names
    assert [row["psi"] for row in results["truncation"]] == [0.5, 1.0]
    assert results["truncation"][-1] == {"psi": 1.0} | results["metrics"]
    with (reports / "psi_sweep.csv").open(newline="") as file:
        rows = [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(file)]
    assert rows == results["truncation"]

    evaluate(params, root, root / "state")
    assert ((reports / "metrics.json").read_bytes(), (reports / "psi_sweep.csv").read_bytes()) == first


def test_trials_measure_what_one_process_measures(ray: None, params: Params, root: Path) -> None:
    evaluator = make_evaluator(params.evaluate, train_split(root), root / "none", root / "alone")
    G = load_generator(root / "models" / "generator.safetensors")
    subjects = subjects_of(evaluator, G, seed=0)
    numbers = measure_all(evaluator, subjects, params.cluster)
    assert numbers == [rounded(evaluator.measure(s.G, s.latents, s.psi)) for s in subjects]


def test_features_spread_over_the_cluster_are_those_of_one_process(
    ray: None, params: Params, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, extractor = train_split(root), RandomExtractor(16)
    features = extract_on(params.cluster, len(dataset))(real_batches(dataset, 1), extractor)
    assert "real features 18/18 images, 0 s left" in capsys.readouterr().out
    assert torch.equal(features, extract(real_batches(dataset, 1), extractor))


def test_failed_trial_names_its_subject_and_the_reason(ray: None, params: Params, root: Path) -> None:
    evaluator = make_evaluator(params.evaluate, train_split(root), root / "none", root / "state")
    evaluator.real.features[0, 0] = torch.nan
    G = load_generator(root / "models" / "generator.safetensors")
    with pytest.raises(EvaluationError) as caught:
        measure_all(evaluator, subjects_of(evaluator, G, seed=0)[:1], params.cluster)
    assert str(caught.value) == (
        "psi 0.5: kernel_distance: features hold NaN or infinity; the images or the extractor's weights do. "
        "Check the generator with `python -m stylegan generate`."
    )
