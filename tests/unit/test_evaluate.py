"""Stage `evaluate` without Ray: what it reads and refuses, what it measures besides the sweep, what it writes."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from ray import tune
from torch import Tensor

from pipelines.evaluate import (
    EvaluationError,
    evaluate,
    make_evaluator,
    numbers_of,
    rounded,
    subjects_of,
    table,
    write_csv,
)
from pipelines.params import Params
from stylegan.checkpoint import save_generator
from stylegan.data import ArchiveError, ImageDataset
from stylegan.files import sha256_of
from stylegan.metrics.evaluator import untrained_like
from stylegan.metrics.extractors import Extractor
from stylegan.networks import Generator
from stylegan.state import TrainState


def write_models(root: Path, params: Params, archive: Path, *, resolution: int = 16, c_dim: int = 0) -> None:
    torch.manual_seed(1)
    G = Generator(params.generator, img_resolution=resolution, img_channels=3, c_dim=c_dim)
    save_generator(G, root / "models" / "generator.safetensors")
    record = {"fingerprint": "abc", "archive_sha256": sha256_of(archive), "cur_nimg": 32, "seed": 0}
    (root / "models" / "train.json").write_text(json.dumps(record))
    (root / "data").mkdir()
    (root / "data" / "archive.zip").write_bytes(archive.read_bytes())


def train_split(archive: Path, *, use_labels: bool = False) -> ImageDataset:
    return ImageDataset(archive, use_labels=use_labels, xflip=False, split="train", max_images=None)


def test_all_images_of_the_train_split_are_the_real_side(
    tiny_params: Params, tiny_archive: Path, tmp_path: Path
) -> None:
    evaluator = make_evaluator(tiny_params.evaluate, train_split(tiny_archive), tmp_path, tmp_path)
    assert evaluator.real.features.shape == (18, 64)


def test_real_features_are_read_from_the_cache_the_second_time(
    tiny_params: Params, tiny_archive: Path, tmp_path: Path
) -> None:
    def must_not_run(batches: Iterable[Tensor], extractor: Extractor) -> Tensor:
        raise AssertionError("the cache was not read")

    first = make_evaluator(tiny_params.evaluate, train_split(tiny_archive), tmp_path, tmp_path)
    second = make_evaluator(tiny_params.evaluate, train_split(tiny_archive), tmp_path, tmp_path, must_not_run)
    assert torch.equal(first.real.features, second.real.features)


def test_a_measurement_names_every_number(tiny_params: Params, tiny_archive: Path, tmp_path: Path) -> None:
    evaluator = make_evaluator(tiny_params.evaluate, train_split(tiny_archive), tmp_path, tmp_path)
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0)
    numbers = evaluator.measure(G, evaluator.latents(G), 0.5)
    names = ["kid_random", "frechet_random", "precision_random", "recall_random", "ppl_random"]
    assert list(numbers) == names
    assert list(evaluator.floor()) == names[:-1]  # real images have no path


def test_labels_of_a_conditional_generator_are_drawn_from_the_data(
    tiny_params: Params, tiny_archive: Path, tmp_path: Path
) -> None:
    evaluator = make_evaluator(tiny_params.evaluate, train_split(tiny_archive, use_labels=True), tmp_path, tmp_path)
    assert evaluator.c.shape == (tiny_params.evaluate.num_images, 2)
    assert set(evaluator.c.sum(dim=1).tolist()) == {1}
    assert 0 < int(evaluator.c[:, 0].sum()) < len(evaluator.c)


@pytest.mark.parametrize(
    "change",
    [
        "evaluate.num_images=9",
        "evaluate.seed=1",
        "evaluate.truncation_cutoff=2",
        "evaluate.kid_num_subsets=5",
        "evaluate.kid_subset_size=3",
        "evaluate.pr_neighbors=2",
        "evaluate.ppl_num_pairs=5",
        "evaluate.ppl_epsilon=0.5",
        "evaluate.extractor_input_size=8",
    ],
)
def test_every_parameter_changes_a_number(
    make_params: Callable[..., Params], tiny_archive: Path, tmp_path: Path, change: str
) -> None:
    G = untrained_like(Generator(make_params().generator, img_resolution=16, img_channels=3, c_dim=0), seed=0)
    # Pictures of noise lie far from the archive's; between halves of it precision and recall are neither 0 nor 1.
    measured = []
    for params in (make_params("evaluate.num_images=10"), make_params("evaluate.num_images=10", change)):
        evaluator = make_evaluator(params.evaluate, train_split(tiny_archive), tmp_path, tmp_path)
        measured.append((evaluator.measure(G, evaluator.latents(G), 0.5), evaluator.floor()))
    assert measured[0] != measured[1]


def test_untrained_generator_is_the_one_training_starts_from(tiny_params: Params) -> None:
    cpu = torch.device("cpu")
    started = TrainState.create(tiny_params, img_resolution=16, img_channels=3, c_dim=0, device=cpu).G_ema
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fresh = untrained_like(G, tiny_params.train.seed).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in started.state_dict().items())


def test_subjects_are_the_generator_at_every_psi_and_the_untrained_one(
    make_params: Callable[..., Params], tiny_archive: Path, tmp_path: Path
) -> None:
    params = make_params("evaluate.truncation_psi=[1.0, 0.5, 1.0]")
    evaluator = make_evaluator(params.evaluate, train_split(tiny_archive), tmp_path, tmp_path)
    G = Generator(params.generator, img_resolution=16, img_channels=3, c_dim=0)
    half, full, untrained = subjects_of(evaluator, G, seed=0)
    assert [half.name, full.name, untrained.name] == ["psi 0.5", "psi 1.0", "untrained generator"]
    assert [half.psi, full.psi, untrained.psi] == [0.5, 1.0, 1.0]
    assert half.G is full.G is G
    assert half.latents is full.latents
    expected = untrained_like(G, 0).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in untrained.G.state_dict().items())
    assert not torch.equal(untrained.latents.w, half.latents.w)


def test_dead_trial_is_named_with_the_last_line_of_its_error() -> None:
    died = tune.Result({}, None, RuntimeError("Traceback\n  File x\nOSError: disk full\n"), "")
    with pytest.raises(EvaluationError) as caught:
        numbers_of(died, "psi 0.5")
    assert str(caught.value) == "psi 0.5: the trial died: OSError: disk full"


def test_numbers_are_written_with_six_significant_digits() -> None:
    assert rounded({"a": 123456.789, "b": -0.000123456789, "c": 0.0}) == {"a": 123457.0, "b": -0.000123457, "c": 0.0}


def test_sweep_file_has_a_row_for_each_psi(tmp_path: Path) -> None:
    write_csv(tmp_path / "reports" / "psi_sweep.csv", [{"psi": 0.5, "kid": 0.25}, {"psi": 1.0, "kid": 0.125}])
    assert (tmp_path / "reports" / "psi_sweep.csv").read_text() == "psi,kid\n0.5,0.25\n1.0,0.125\n"


def test_table_sets_generator_real_and_untrained_side_by_side() -> None:
    results = {
        "metrics": {"kid_random": 0.012345, "ppl_random": 9.5},
        "floor": {"kid_random": -0.001},
        "untrained": {"kid_random": 1.5, "ppl_random": 100.0},
    }
    assert table(results).splitlines() == [
        "                           generator        real   untrained",
        "kid_random                   0.01235      -0.001         1.5",
        "ppl_random                       9.5                     100",
    ]


def test_missing_training_record_is_named_with_the_stage_that_writes_it(tiny_params: Params, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError) as caught:
        evaluate(tiny_params, tmp_path, tmp_path)
    path = tmp_path / "models" / "train.json"
    assert str(caught.value) == f"{path}: no training record there. Run `dvc repro train`, which writes it."


def test_missing_generator_is_named(tiny_params: Params, tiny_archive: Path, tmp_path: Path) -> None:
    write_models(tmp_path, tiny_params, tiny_archive)
    (tmp_path / "models" / "generator.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"generator\.safetensors: no such file"):
        evaluate(tiny_params, tmp_path, tmp_path)


def test_missing_archive_is_named(tiny_params: Params, tiny_archive: Path, tmp_path: Path) -> None:
    write_models(tmp_path, tiny_params, tiny_archive)
    (tmp_path / "data" / "archive.zip").unlink()
    with pytest.raises(ArchiveError, match=r"archive\.zip: no archive there\. Make it with `dvc repro prepare`\."):
        evaluate(tiny_params, tmp_path, tmp_path)


def test_generator_of_another_archive_is_refused(tiny_params: Params, tiny_archive: Path, tmp_path: Path) -> None:
    write_models(tmp_path, tiny_params, tiny_archive)
    record = tmp_path / "models" / "train.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"archive_sha256": "f" * 64}))
    with pytest.raises(EvaluationError) as caught:
        evaluate(tiny_params, tmp_path, tmp_path)
    archive = tmp_path / "data" / "archive.zip"
    assert str(caught.value) == (
        f"{archive}: its sha256 is {sha256_of(archive)[:12]}, but the generator was trained on ffffffffffff. "
        "Run `dvc repro evaluate`, which trains on the present archive first."
    )


def test_generator_of_another_resolution_is_refused(tiny_params: Params, tiny_archive: Path, tmp_path: Path) -> None:
    write_models(tmp_path, tiny_params, tiny_archive, resolution=32, c_dim=2)
    with pytest.raises(EvaluationError) as caught:
        evaluate(tiny_params, tmp_path, tmp_path)
    archive = tmp_path / "data" / "archive.zip"
    assert str(caught.value) == (
        f"{archive}: resolution, channels and label width are (16, 3, 2), of the generator (32, 3, 2). "
        "Run `dvc repro evaluate`, which trains on the present archive first."
    )
