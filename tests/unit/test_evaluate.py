"""Stage `evaluate` without Ray: what it reads and refuses, what it measures besides the sweep, what it writes."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import experiments
from pipelines.artifacts import manifest_json, metrics_json, train_json
from pipelines.artifacts.metrics_json import ClassResult
from pipelines.evaluate import facts
from pipelines.evaluate.measurement import EvaluationError
from pipelines.evaluate.on_cluster import make_evaluator, whole_set
from pipelines.evaluate.trained import evaluate
from pipelines.params import Params
from stylegan.checkpoint import save_generator
from stylegan.data import ArchiveError, ImageDataset
from stylegan.files import sha256_of, write_json
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.evaluation.cache import StatisticsCache
from stylegan.metrics.evaluation.comparison import Measured
from stylegan.metrics.evaluation.evaluator import Evaluator, Reference, Sweep, untrained_like
from stylegan.networks import Generator
from stylegan.state import TrainState
from tests.evaluation_results import evaluation_results, metrics_of, truncation, write_train_record
from tests.measuring import measured_here, track


def write_models(root: Path, params: Params, archive: Path, *, resolution: int = 16, c_dim: int = 0) -> None:
    torch.manual_seed(1)
    G = Generator(params.generator, img_resolution=resolution, img_channels=3, c_dim=c_dim)
    save_generator(G, root / "models" / "generator.safetensors")
    write_train_record(root, archive_sha256=sha256_of(archive))
    (root / "data").mkdir()
    (root / "data" / "archive.zip").write_bytes(archive.read_bytes())


def train_split(archive: Path, *, use_labels: bool = False) -> ImageDataset:
    return ImageDataset(archive, use_labels=use_labels, xflip=False, split="train", max_images=None)


def generator(params: Params, seed: int = 0) -> Generator:
    return untrained_like(Generator(params.generator, img_resolution=16, img_channels=3, c_dim=0), seed)


def measured(params: Params, archive: Path, *sweeps: Sweep) -> list[Measured]:
    dataset = train_split(archive)
    return measured_here(make_evaluator(params.evaluate, dataset, archive), list(sweeps), dataset)


def test_all_images_of_the_train_split_are_the_real_side(tiny_params: Params, tiny_archive: Path) -> None:
    dataset = train_split(tiny_archive)
    found = make_evaluator(tiny_params.evaluate, dataset, tiny_archive).statistics(dataset, track)
    assert found.features is not None
    assert found.features.shape == (18, 64)


def test_a_measurement_names_every_number(tiny_params: Params, tiny_archive: Path) -> None:
    half, floor = measured(tiny_params, tiny_archive, Sweep("generator", generator(tiny_params), (0.5,)))
    pr = ["precision_random", "recall_random", "density_random", "coverage_random"]
    assert list(half.numbers) == ["kid_random", "frechet_random", *pr, "memorized_8px", "ppl_random"]
    assert list(floor.numbers) == ["kid_random", "frechet_random", *pr, "memorized_8px"]  # no path
    assert list(half.intervals) == ["kid_random", *pr, "ppl_random"]
    assert floor.intervals == {}


def test_a_sweep_measures_what_each_psi_alone_does(tiny_params: Params, tiny_archive: Path) -> None:
    G = generator(tiny_params)
    swept = measured(tiny_params, tiny_archive, Sweep("generator", G, (0.5, 1.0)))[:2]
    alone = [measured(tiny_params, tiny_archive, Sweep("generator", G, (psi,)))[0] for psi in (0.5, 1.0)]
    assert [found.numbers for found in swept] == [found.numbers for found in alone]


def test_the_headline_alone_gets_intervals_and_details_at_psi_1(tiny_params: Params, tiny_archive: Path) -> None:
    first = Sweep("generator", generator(tiny_params), (0.5, 1.0))
    half, full, other, _ = measured(tiny_params, tiny_archive, first, Sweep("other", generator(tiny_params, 1), (1.0,)))
    assert [bool(found.intervals) for found in (half, full, other)] == [True, True, False]
    assert [found.details is not None for found in (half, full, other)] == [False, True, False]
    assert full.details is not None
    assert full.details.neighbors is not None
    assert full.details.neighbors.index.shape == (8, 3)
    assert full.details.per_class is None  # no labels


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")
def test_a_gpu_measures_what_the_processor_measures(tiny_params: Params, tiny_archive: Path) -> None:
    dataset, found = train_split(tiny_archive), []
    for device in ("cpu", "cuda"):
        evaluator = make_evaluator(tiny_params.evaluate, dataset, tiny_archive).to(device)
        sweep = Sweep("generator", generator(tiny_params).to(device), (1.0,))
        found.append(measured_here(evaluator, [sweep], dataset)[0])
    assert found[0].numbers == pytest.approx(found[1].numbers, rel=1e-3)  # single pixels may round to a neighbour
    assert found[0].intervals.keys() == found[1].intervals.keys()


def test_the_yardstick_of_memorisation_are_the_training_images_among_each_other(
    tiny_params: Params, tiny_archive: Path
) -> None:
    dataset = train_split(tiny_archive)
    evaluator = make_evaluator(tiny_params.evaluate, dataset, tiny_archive)
    real = evaluator.statistics(dataset, track)
    assert real.thumbnails is not None
    twice = replace(real, thumbnails=real.thumbnails.repeat(2, 1, 1, 1))
    alone, repeated = (
        evaluator.floor(Reference(statistics, torch.zeros(18, 0))).numbers["memorized_8px"]
        for statistics in (real, twice)
    )
    assert alone < repeated == 1


def test_generator_and_real_images_are_compared_at_equal_numbers(tiny_params: Params, tiny_archive: Path) -> None:
    dataset = train_split(tiny_archive)
    evaluator = make_evaluator(tiny_params.evaluate, dataset, tiny_archive)
    real = evaluator.statistics(dataset, track)
    assert real.features is not None
    reference, splits = Reference(real, torch.zeros(18, 0)), evaluator.splits(18)
    assert [(len(rest), len(part)) for rest, part in splits] == [(10, 8)] * 10
    # Where the images of the generator are those that play it in the floor, both score the same.
    like = [evaluator.compare_part(real.features[rest], real.features[part]).numbers for rest, part in splits]
    floor = evaluator.floor(reference).without("memorized")  # of each image among all others
    for metric in floor.metrics:
        values = [numbers[metric.name] for numbers in like]
        assert metric.value == pytest.approx(sum(values) / len(values))
        assert metric.sd == pytest.approx(torch.tensor(values, dtype=torch.float64).std().item())
    assert list(evaluator.like_floor(reference, real).numbers) == list(floor.numbers)


def test_a_baseline_is_measured_once_and_anew_for_other_settings(
    make_params: Callable[..., Params], tiny_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = train_split(tiny_archive)
    evaluator = make_evaluator(make_params("evaluate.floor_splits=3").evaluate, dataset, tiny_archive)
    cache = StatisticsCache(tmp_path, dataset.digest, evaluator.extractor, "code")
    reference = Reference(evaluator.statistics(dataset, track), torch.zeros(18, 0))
    assert cache.load_floor("train", evaluator.floor_key) is None
    floor = evaluator.floor(reference)
    cache.save_floor("train", evaluator.floor_key, floor)
    assert cache.load_floor("train", evaluator.floor_key) == floor
    for other in ("evaluate.floor_splits=4", "evaluate.num_images=9", "evaluate.seed=1", "evaluate.metrics=[kid]",
                  "evaluate.pr_neighbors=2", "evaluate.kid_subset_size=3"):  # fmt: skip
        key = make_evaluator(make_params("evaluate.floor_splits=3", other).evaluate, dataset, tiny_archive).floor_key
        assert cache.load_floor("train", key) is None, other
    assert replace(cache, code="other").load_floor("train", evaluator.floor_key) is None
    parts: list[int] = []
    compare = Evaluator.compare_part
    monkeypatch.setattr(Evaluator, "compare_part", lambda *each: (parts.append(1), compare(*each))[1])
    sweep = Sweep("generator", generator(make_params()), (1.0,))
    *_, last = evaluator.measure([sweep], reference, track, cache.load_floor("train", evaluator.floor_key))
    assert last == floor
    assert len(parts) == 3, "only the generator is measured on the splits"
    cache.floor_path("train", evaluator.floor_key).write_text('[{"name": 1}]')
    with pytest.warns(UserWarning, match="The baseline is measured again"):
        assert cache.load_floor("train", evaluator.floor_key) is None


def test_a_run_of_a_ladder_or_sweep_is_measured_once_and_anew_by_other_code(
    make_params: Callable[..., Params], tiny_archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params, found = make_params(), list[Path]()
    write_models(tmp_path, params, tiny_archive)

    def measure(*arguments: Any) -> None:
        found.append(arguments[-1])
        (arguments[-1] / "metrics.json").touch()

    monkeypatch.setattr(experiments.evaluate, "measure", measure, raising=False)
    again = [experiments.evaluated(params, tmp_path, tmp_path, tmp_path / "runs") for _ in range(2)]
    assert again == [found[0]] * 2
    monkeypatch.setattr(experiments, "code_digest", lambda entries: "other")
    assert experiments.evaluated(params, tmp_path, tmp_path, tmp_path / "runs") == found[1] != found[0]


def test_a_metric_that_fails_costs_no_other(make_params: Callable[..., Params], tiny_archive: Path) -> None:
    params = make_params("evaluate.metrics=[kid, is, fid_infinity, fid]")
    found, floor = measured(params, tiny_archive, Sweep("generator", generator(params), (1.0,)))
    assert list(found.numbers) == ["kid_random", "frechet_random"]
    assert [failure.metric for failure in found.failures] == ["is", "fid_infinity"]
    assert found.failures[1].reason == (
        "fid_infinity: 8 generated images, but a line needs 10 for each of the 64 features, 640. Raise "
        "evaluate.num_images, or take fid_infinity out of evaluate.metrics."
    )
    assert list(floor.numbers) == ["kid_random", "frechet_random"]
    assert [failure.metric for failure in floor.failures] == ["is"]  # FID-infinity is left out
    (first, *_) = facts.failures(["generator at psi 1", "floor"], [found, floor])
    assert (first.measurement, first.metric) == ("generator at psi 1", "is")
    assert first.sentence.startswith("is of the generator at psi 1 was not measured. inception score: the extractor ")


def test_an_archive_that_left_images_out_is_no_whole_set(tiny_archive: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    archive.write_bytes(tiny_archive.read_bytes())
    dataset = ImageDataset(archive, use_labels=False, xflip=False, split="all", max_images=None)
    count = len(dataset)
    assert whole_set(dataset) == count  # without a manifest it is all that there is
    entry: dict[str, object] = {"archive_sha256": dataset.digest, "prepare": {"resize_filter": "box"}}
    entry |= {"num_images": 7, "num_enlarged": 0, "split": {"train": 7}, "bad_kinds": {"not an image": 1}}
    entry |= {"class_names": ["cat", "dog"], "class_counts": {"0": 3, "1": 4}}
    for not_drawn, digest, expected in ((0, dataset.digest, count), (40, dataset.digest, None), (40, "other", count)):
        counts = {"num_found": 7 + not_drawn, "num_not_drawn": not_drawn}
        manifest = entry | counts | {"archive_sha256": digest, "images": [{"images": 1}]}
        write_json(tmp_path / "manifest.json", manifest)
        assert whole_set(dataset) == expected
    write_json(tmp_path / "manifest.json", entry | {"num_found": 10, "num_not_drawn": 2, "images": []})
    found = manifest_json.overview_of(archive, dataset.digest)
    assert found is not None
    assert (found.resize_filter, found.num_left_out, found.class_counts) == ("box", 3, {"cat": 3, "dog": 4})


@pytest.mark.parametrize("odd", [{"class_counts": [3, 4]}, {"class_counts": {"9": 1}}, {"split": 7}, "[" * 100_000])
def test_a_manifest_of_another_kind_next_to_an_archive_is_none(odd: Any, tmp_path: Path) -> None:
    entry = {"archive_sha256": "a", "prepare": {"resize_filter": "box"}, "class_names": ["cat"], "class_counts": {}}
    entry |= {name: 0 for name in ("num_found", "num_not_drawn", "num_images", "num_enlarged")}
    entry |= {"split": {}, "bad_kinds": {}}
    path = tmp_path / "manifest.json"
    write_json(path, entry | {"images": []})
    assert manifest_json.overview_of(tmp_path / "archive.zip", "a") is not None
    if isinstance(odd, str):
        path.write_text(odd)
    else:
        write_json(path, entry | odd | {"images": []})
    assert manifest_json.overview_of(tmp_path / "archive.zip", "a") is None


def test_classes_are_compared_where_labels_name_them(make_params: Callable[..., Params], tiny_archive: Path) -> None:
    params = make_params("evaluate.metrics=[kid, fid]")
    dataset = train_split(tiny_archive, use_labels=True)
    evaluator = make_evaluator(params.evaluate, dataset, tiny_archive)
    G = Generator(params.generator, img_resolution=16, img_channels=3, c_dim=2)
    details = measured_here(evaluator, [Sweep("generator", G, (1.0,))], dataset)[0].details
    assert details is not None
    assert details.neighbors is None  # memorisation was not asked for
    assert details.per_class is not None
    assert [(found.label, found.num_real) for found in details.per_class] == [(0, 9), (1, 9)]
    assert sum(found.num_gen for found in details.per_class) == params.evaluate.num_images
    assert facts.classes(details, dataset) == tuple(
        ClassResult(
            label=found.label,
            name=(dataset.class_names or ["0", "1"])[found.label],
            num_real=found.num_real,
            num_gen=found.num_gen,
            distance=None if found.distance is None else facts.digits(found.distance),
        )
        for found in details.per_class
    )


def test_frechet_distance_alone_keeps_no_feature(make_params: Callable[..., Params], tiny_archive: Path) -> None:
    params = make_params("evaluate.metrics=[fid]")
    dataset = train_split(tiny_archive)
    evaluator = make_evaluator(params.evaluate, dataset, tiny_archive)
    statistics = evaluator.statistics(dataset, track)
    assert statistics.features is None
    found, floor = evaluator.measure(
        [Sweep("generator", generator(params), (1.0,))], Reference(statistics, torch.zeros(18, 0)), track
    )
    assert list(found.numbers) == ["frechet_random"]
    assert floor.numbers == {}
    assert "The real-image baseline needs features" in facts.notes(evaluator, dataset, None)[-1]


def test_no_network_of_path_lengths_is_needed_where_none_is_asked_for(
    make_params: Callable[..., Params], tiny_archive: Path
) -> None:
    params = make_params("evaluate.metrics=[kid]", "evaluate.ppl_network=lpips_vgg16")
    assert make_evaluator(params.evaluate, train_split(tiny_archive), tiny_archive.parent / "absent").lpips is None


def test_a_failed_measurement_is_named(tiny_params: Params, tiny_archive: Path) -> None:
    dataset = train_split(tiny_archive)
    evaluator = make_evaluator(tiny_params.evaluate, dataset, tiny_archive)
    real = evaluator.statistics(dataset, track)
    assert real.features is not None
    real.features[0, 0] = torch.nan
    with pytest.raises(MetricError) as caught:
        evaluator.measure(
            [Sweep("generator", generator(tiny_params), (0.5,))], Reference(real, torch.zeros(18, 0)), track
        )
    assert str(caught.value) == (
        "generator at psi 0.5: kernel_distance: features hold NaN or infinity; the images or the extractor's weights "
        "do. Check the generator with `python -m stylegan generate`."
    )


def test_labels_of_a_conditional_generator_are_drawn_from_the_data(tiny_params: Params, tiny_archive: Path) -> None:
    evaluator = make_evaluator(tiny_params.evaluate, train_split(tiny_archive, use_labels=True), tiny_archive)
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
def test_every_parameter_changes_a_number(make_params: Callable[..., Params], tiny_archive: Path, change: str) -> None:
    # Pictures of noise lie far from the archive's; between halves of it precision and recall are neither 0 nor 1.
    before, after = (
        measured(params, tiny_archive, Sweep("generator", generator(params), (0.5,)))
        for params in (make_params("evaluate.num_images=10"), make_params("evaluate.num_images=10", change))
    )
    assert [found.numbers for found in before] != [found.numbers for found in after]


def test_untrained_generator_is_the_one_training_starts_from(tiny_params: Params) -> None:
    cpu = torch.device("cpu")
    started = TrainState.create(tiny_params, img_resolution=16, img_channels=3, c_dim=0, device=cpu).G_ema
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fresh = untrained_like(G, tiny_params.train.seed).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in started.state_dict().items())


def test_numbers_are_written_with_six_significant_digits() -> None:
    metrics = metrics_of({"fid_x": 123456.789, "kid_x": -0.000123456789, "recall_x": 0.0}, {"fid_x": [1 / 3, math.inf]})
    numbers = {"fid_x": 123457.0, "kid_x": -0.000123457, "recall_x": 0.0}
    assert facts.rounded(metrics) == metrics_of(numbers, {"fid_x": [0.333333, math.inf]})


def test_sweep_file_has_a_row_for_each_psi_and_columns_for_the_bounds(tmp_path: Path) -> None:
    rows = [truncation(0.5, {"kid": 0.25}, {"kid": [0.2, 0.3]}), truncation(1.0, {"kid": 0.125}, {"kid": [0.1, 0.2]})]
    metrics_json.write_csv(tmp_path / "reports" / "psi_sweep.csv", rows)
    expected = "psi,kid,kid_low,kid_high\n0.5,0.25,0.2,0.3\n1.0,0.125,0.1,0.2\n"
    assert (tmp_path / "reports" / "psi_sweep.csv").read_text() == expected


def test_table_compares_with_real_images_at_equal_numbers_of_images() -> None:
    report = evaluation_results(
        {"kid_random": 0.012345, "ppl_random": 9.5},
        intervals={"kid_random": [0.011, 0.0138]},
        confidence=0.9,
        floor={"kid_random": -0.001},
        untrained={"kid_random": 1.5, "ppl_random": 100.0},
        like_floor=(metrics_of({"kid_random": 0.013})[0].model_copy(update={"sd": 0.002}),),
        notes=("Few images.",),
    )
    assert metrics_json.table(report).splitlines() == [
        "1000 generated against 2000 real images:",
        "                           generator   untrained   90% interval",
        "kid_random                   0.01235         1.5   0.011 to 0.0138",
        "ppl_random                       9.5         100",
        "with 1000 real and 1000 other images, mean (sd) of 10 splits:",
        "                                       generator                    real",
        "kid_random                         0.013 (0.002)                  -0.001",
        "Few images.",
    ]


def test_missing_training_record_is_named_with_the_stage_that_writes_it(tiny_params: Params, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        evaluate(tiny_params, tmp_path, tmp_path)
    path = tmp_path / "models" / "train.json"
    assert str(caught.value) == f"{path}: file not found. Run `dvc repro train`, which writes it."


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"cur_nimg": "32"}, "cur_nimg: Input should be a valid integer"),
        ({"snapshot": "newest"}, "snapshot: Input should be 'best' or 'last'"),
        ({"surplus": 1}, "surplus: Extra inputs are not permitted"),
    ],
)
def test_a_training_record_of_another_kind_is_refused(change: dict[str, Any], problem: str, tmp_path: Path) -> None:
    write_train_record(tmp_path)
    path = tmp_path / "models" / "train.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match="not a training record") as caught:
        train_json.read(tmp_path)
    remedy = "Run `dvc repro --force train`, which writes it again."
    assert str(caught.value) == f"{path}: not a training record: {problem}. {remedy}"


def test_missing_generator_is_named(tiny_params: Params, tiny_archive: Path, tmp_path: Path) -> None:
    write_models(tmp_path, tiny_params, tiny_archive)
    (tmp_path / "models" / "generator.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"generator\.safetensors: no such file"):
        evaluate(tiny_params, tmp_path, tmp_path)


def test_missing_archive_is_named(tiny_params: Params, tiny_archive: Path, tmp_path: Path) -> None:
    write_models(tmp_path, tiny_params, tiny_archive)
    (tmp_path / "data" / "archive.zip").unlink()
    with pytest.raises(
        ArchiveError, match=r"archive\.zip: dataset archive not found\. Make it with `dvc repro prepare`\."
    ):
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
        "Evaluate it on images of the same kind: `dvc repro evaluate` first trains on the present archive, and "
        "--data accepts other images."
    )
