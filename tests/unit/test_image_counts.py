"""stylegan.config.image_counts: what is refused for want of images fails when it is tried, and what is not succeeds."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipelines.params import Params
from stylegan.config import count_problems, describe_unused_labels, image_counts
from stylegan.config.image_counts import NUM_FEATURES
from stylegan.metrics import fid_infinity
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.evaluation import comparison
from stylegan.metrics.evaluation.comparison import summarise
from stylegan.metrics.evaluation.evaluator import Evaluator, Reference
from stylegan.metrics.extractors import load_extractor
from stylegan.metrics.extractors.efficientnet import NUM_FEATURES as EFFICIENTNET
from stylegan.metrics.extractors.inception import NUM_FEATURES as INCEPTION
from stylegan.metrics.extractors.standard import VGG16_FEATURES
from stylegan.metrics.inception_score import NUM_SPLITS

Make = Callable[..., Params]


def problems(params: Params, num_train: int) -> list[str]:
    return list(count_problems(params, num_train))


def test_the_numbers_of_features_are_those_of_the_extractors(tiny_params: Params) -> None:
    random = load_extractor("random", 16, Path()).num_features
    assert {"inception": INCEPTION, "vgg16": VGG16_FEATURES, "efficientnet_lite0": EFFICIENTNET, "random": random} == (
        NUM_FEATURES
    )


def test_the_other_numbers_that_the_configuration_repeats_because_it_loads_no_torch_are_those_of_the_metrics() -> None:
    assert image_counts.INFINITY_FEWEST == fid_infinity.FEWEST
    assert image_counts.OF_FEATURES == comparison.OF_FEATURES
    assert image_counts.IS_SPLITS == NUM_SPLITS


def baseline(params: Params, num_train: int) -> None:
    """The real-image baseline of evaluate, of random features and thumbnails"""
    extractor = load_extractor("random", 16, Path())
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(num_train, extractor.num_features, generator=draw)
    evaluator = Evaluator(params.evaluate, extractor, None, torch.zeros(8, 0), None, torch.device("cpu"))
    small = torch.randn(num_train, 3, 8, 8, generator=draw) if evaluator.keeps_thumbnails else None
    kept = replace(summarise(features), thumbnails=small)
    if not evaluator.keeps_features:
        kept = replace(kept, features=None)
    floor = evaluator.floor(Reference(kept, torch.zeros(num_train, 0)))
    if floor.failures:
        raise MetricError(floor.failures[0].reason)


@pytest.mark.parametrize("num_train", [2, 3, 4, 5, 7, 8, 9])
@pytest.mark.parametrize("metrics", ["[kid]", "[fid]", "[kid, pr]", "[kid, memorization]", "[fid, memorization]"])
def test_what_is_said_to_be_too_few_is_and_what_is_not_is_enough(
    make_params: Make, metrics: str, num_train: int
) -> None:
    params = make_params(f"evaluate.metrics={metrics}", "evaluate.pr_neighbors=3", "monitor.pr_neighbors=1")
    if problems(params, num_train):
        with pytest.raises(MetricError):
            baseline(params, num_train)
    else:
        baseline(params, num_train)


@pytest.mark.parametrize("num_train", [2, 3, 4, 5, 6, 7, 20])
def test_the_remedy_helps(make_params: Make, num_train: int) -> None:
    overrides = ["evaluate.metrics=[kid, pr]", "evaluate.pr_neighbors=3", "monitor.pr_neighbors=3"]
    for line in problems(make_params(*overrides), num_train):
        if "monitor." in line:
            overrides.append(f"monitor.pr_neighbors={line.split('monitor.pr_neighbors to ')[1].split(',')[0]}")
        elif "evaluate.pr_neighbors" in line:
            overrides.append(f"evaluate.pr_neighbors={line.split('evaluate.pr_neighbors to ')[1].split(',')[0]}")
        else:
            overrides.append("evaluate.metrics=[fid]")
    found = [line for line in problems(make_params(*overrides), num_train) if "take pr out" not in line]
    assert found == []


def test_infinity_and_inception_score_name_the_images_that_they_need(make_params: Make) -> None:
    metrics = "evaluate.metrics=[kid, is, fid_infinity]"
    assert problems(make_params(metrics, "evaluate.num_images=640"), 1000) == []  # 64 random features
    assert len(problems(make_params(metrics, "evaluate.num_images=639"), 19)) == 2
    assert problems(make_params(metrics, "evaluate.num_images=639"), 100) == [
        "evaluate.metrics has fid_infinity, which needs 640 generated images; evaluate.num_images is 639. Raise it, or "
        "take fid_infinity out of evaluate.metrics."
    ]


def test_a_subset_to_train_on_counts_for_the_monitor_and_the_whole_for_evaluation(make_params: Make) -> None:
    params = make_params("data.max_images=2", "monitor.pr_neighbors=2", "evaluate.metrics=[kid]")
    (line,) = problems(params, 100)
    assert line == (
        "monitor.pr_neighbors is 2, which needs at least 3 training images; there are 2. Set monitor.pr_neighbors to "
        "1, or monitor.num_images to 0 and monitor.export to last."
    )


def test_labels_that_training_does_not_use_are_said(make_params: Make) -> None:
    assert describe_unused_labels(make_params()) is None
    assert describe_unused_labels(make_params("prepare.labels=folders", "data.use_labels=true")) is None
    assert describe_unused_labels(make_params("prepare.labels=folders")) == (
        "prepare.labels is folders, but data.use_labels is false: training ignores the labels. For a conditional "
        "generator set data.use_labels to true."
    )
