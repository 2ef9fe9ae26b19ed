"""One measurement from networks and images to reports/: used by the stage `evaluate` and by `evaluate --network`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from pipelines.artifacts import manifest_json, metrics_json
from pipelines.artifacts.dataset import SPLIT, open_dataset
from pipelines.artifacts.metrics_json import MetricsReport, Realism, Truncation
from pipelines.cluster.connection import connect
from pipelines.diagnosis import frontier
from pipelines.drawing.sheets import neighbor_captions, neighbor_sheet, png_of, realism_sheet
from pipelines.evaluate import facts
from pipelines.evaluate.on_cluster import make_evaluator, measure_on_cluster
from pipelines.params import Params
from stylegan.data import ImageDataset
from stylegan.files import replacing
from stylegan.metrics.evaluation.comparison import Measured
from stylegan.metrics.evaluation.evaluator import Evaluator, Sweep, untrained_like
from stylegan.metrics.evaluation.floor import num_floor_images
from stylegan.metrics.evaluation.metric import short
from stylegan.metrics.memorization import TrainingNeighbors
from stylegan.networks import Generator


class EvaluationError(RuntimeError):
    """Nothing can be measured on what it found; the message says what to do."""


def open_matching(archive: Path, G: Generator) -> ImageDataset:
    """The real images of an archive. Raises EvaluationError unless G makes images and takes labels like them."""
    dataset = open_dataset(archive, use_labels=G.c_dim > 0)
    made, wanted = (G.img_resolution, G.img_channels, G.c_dim), (dataset.resolution, dataset.channels, dataset.c_dim)
    if made != wanted:
        raise EvaluationError(
            f"{dataset.path}: resolution, channels and label width are {wanted}, of the generator {made}. "
            "Evaluate it on images of the same kind: `dvc repro evaluate` first trains on the present archive, and "
            "--data accepts other images."
        )
    return dataset


@dataclass(frozen=True)
class Subject:
    """A generator to measure."""

    G: Generator
    seed: int  # of the weights that training started from, which are measured too
    sha256: str  # of its file
    cur_nimg: int | None  # real images it was trained on; None if the file does not say


def measure(
    params: Params, subject: Subject, dataset: ImageDataset, weights: Path, state: Path, out: Path
) -> MetricsReport:
    """Measure a generator at every psi, and untrained, against the dataset, and write the reports into `out`."""
    evaluator = make_evaluator(params.evaluate, dataset, weights)
    generator = Sweep("generator", subject.G, tuple(sorted(set(params.evaluate.truncation_psi))))
    untrained = Sweep("untrained generator", untrained_like(subject.G, subject.seed), (1.0,))
    with connect(params.cluster):
        measured = measure_on_cluster(evaluator, [generator, untrained], dataset, state, params)
    rows = compared(generator.psis, measured)
    headline = measured[generator.psis.index(1.0)]
    details, like_floor = headline.details, headline.like_floor
    assert details is not None, "found at psi 1"
    assert like_floor is not None, "found at psi 1"
    names = [f"generator at psi {psi:g}" for psi in generator.psis]
    names += [untrained.name, "floor", "generator as measured for the floor"]
    failures = facts.failures(names, [*measured, like_floor])
    neighbors = details.neighbors
    rows_shown = [] if neighbors is None else neighbors.most_suspicious(params.evaluate.neighbors_num_shown)
    prepared = manifest_json.overview_of(dataset.path, dataset.digest)
    report = MetricsReport(
        extractor=facts.extractor_facts(evaluator),
        num_images=params.evaluate.num_images,
        num_real=len(dataset),
        floor_num_images=(count := num_floor_images(len(dataset), params.evaluate.num_images)),
        floor_num_real=len(dataset) - count,
        floor_num_splits=params.evaluate.floor_splits,
        seed=params.evaluate.seed,
        resize_filter=evaluator.extractor.resize_filter,
        prepare_resize_filter=None if prepared is None else prepared.resize_filter,
        split=SPLIT,
        archive_sha256=dataset.digest,
        generator_sha256=subject.sha256,
        cur_nimg=subject.cur_nimg,
        metrics=facts.rounded(headline.metrics),
        confidence=params.evaluate.bootstrap_level,
        floor=facts.rounded(measured[-1].metrics),
        like_floor=facts.rounded(like_floor.metrics),
        untrained=facts.rounded(measured[-2].metrics),
        truncation=rows,
        recommended=frontier.recommend(rows, facts.noise_between(generator.psis, measured)),
        neighbors=facts.neighbors(neighbors, rows_shown),
        realism=(ranked := facts.most_and_least_real(details.realism)),
        per_class=facts.classes(details, dataset),
        failures=failures,
        infinity=facts.infinity(headline.line),
        notes=(*facts.notes(evaluator, dataset, headline.line), *(failure.sentence for failure in failures)),
    )
    untruncated = replace(generator, psis=(1.0,))
    pictures = {
        "neighbors.png": neighbors_picture(evaluator, untruncated, dataset, neighbors, rows_shown),
        "realism.png": realism_picture(evaluator, untruncated, dataset, ranked),
    }
    for name, picture in pictures.items():
        with replacing(out / name) as temporary:
            temporary.write_bytes(png_of(picture))
    metrics_json.write_csv(out / "psi_sweep.csv", rows)
    metrics_json.write(out / "metrics.json", report)
    metrics_json.write_headline(out / "headline.json", report)
    return report


def compared(psis: Sequence[float], measured: Sequence[Measured]) -> tuple[Truncation, ...]:
    """A row for each psi, of the metrics that none of them failed at"""
    found = [facts.rounded(each.metrics) for _, each in zip(psis, measured, strict=False)]
    common = set.intersection(*({metric.name for metric in metrics} for metrics in found))
    rows = (tuple(metric for metric in metrics if metric.name in common) for metrics in found)
    return tuple(Truncation(psi=psi, metrics=metrics) for psi, metrics in zip(psis, rows, strict=True))


def draw_rows(evaluator: Evaluator, sweep: Sweep, rows: Sequence[int]) -> Tensor:
    """Single images of a measurement  ->  uint8 [len(rows), C, H, W]"""
    return torch.cat([img for row in rows for img in evaluator.pictures(sweep, range(row, row + 1))])


def realism_picture(evaluator: Evaluator, sweep: Sweep, dataset: ImageDataset, found: Realism | None) -> Image:
    """The most realistic images and below them the least realistic ones, each with its score"""
    if found is None:  # a stage writes all that it promises
        return realism_sheet(torch.zeros(0, *dataset.img_shape), [], 1, [])
    captions = [short(score, 3) for score in (*found.best_scores, *found.worst_scores)]
    rows = ["best"] + [""] * (len(found.best) // len(found.worst) - 1) + ["worst"]
    return realism_sheet(draw_rows(evaluator, sweep, (*found.best, *found.worst)), captions, len(found.worst), rows)


def neighbors_picture(
    evaluator: Evaluator, sweep: Sweep, dataset: ImageDataset, found: TrainingNeighbors | None, rows: Sequence[int]
) -> Image:
    """Generated images, each next to its nearest training images"""
    if found is None:  # a stage writes all that it promises
        return neighbor_sheet(torch.zeros(0, *dataset.img_shape), torch.zeros(0, 1, *dataset.img_shape), [])
    gen = draw_rows(evaluator, sweep, rows)
    train = torch.stack([dataset.batch(found.index[row].tolist())[0] for row in rows])
    return neighbor_sheet(gen, train, neighbor_captions(found.distance[rows], found.spacing[rows]))
