"""One measurement from networks and images to reports/: used by the stage `evaluate` and by `evaluate --network`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from pipelines.artifacts import metrics_json
from pipelines.artifacts.dataset import open_dataset
from pipelines.cluster.connection import connect
from pipelines.diagnosis import frontier
from pipelines.drawing.sheets import neighbor_captions, neighbor_sheet, png_of
from pipelines.evaluate.on_cluster import make_evaluator, measure_on_cluster
from pipelines.params import Params
from stylegan.data import ImageDataset
from stylegan.files import replacing, write_json
from stylegan.metrics.evaluation.evaluator import Evaluator, Sweep, untrained_like
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
            "Evaluate it on images of its own kind: `dvc repro evaluate` trains on the present archive first, and "
            "--data takes other images."
        )
    return dataset


@dataclass(frozen=True)
class Subject:
    """A generator to measure."""

    G: Generator
    seed: int  # of the weights that training started from, which are measured too
    facts: dict[str, Any]  # what metrics.json says about it beside the measurements


def measure(
    params: Params, subject: Subject, dataset: ImageDataset, weights: Path, state: Path, out: Path
) -> dict[str, Any]:
    """Measure a generator at every psi, and untrained, against the data set, and write the reports into `out`."""
    evaluator = make_evaluator(params.evaluate, dataset, weights)
    generator = Sweep("generator", subject.G, tuple(sorted(set(params.evaluate.truncation_psi))))
    untrained = Sweep("untrained generator", untrained_like(subject.G, subject.seed), (1.0,))
    with connect(params.cluster):
        measured = measure_on_cluster(evaluator, [generator, untrained], dataset, state, params)
    rows = [metrics_json.row(psi, found) for psi, found in zip(generator.psis, measured, strict=False)]
    details = measured[generator.psis.index(1.0)].details
    assert details is not None, "found at psi 1"
    neighbors = details.neighbors
    rows_shown = [] if neighbors is None else neighbors.most_suspicious(params.evaluate.neighbors_num_shown)
    content = (
        metrics_json.protocol(evaluator, dataset)
        | subject.facts
        | metrics_json.headline(rows, params.evaluate.bootstrap_level)
        | {"floor": metrics_json.rounded(measured[-1].numbers), "untrained": metrics_json.rounded(measured[-2].numbers)}
        | {"truncation": rows, "recommended": asdict(frontier.recommend(rows))}
        | {
            "neighbors": metrics_json.neighbors(neighbors, rows_shown),
            "per_class": metrics_json.classes(details, dataset),
        }
        | {"notes": metrics_json.notes(evaluator, dataset)}
    )
    with replacing(out / "neighbors.png") as temporary:
        temporary.write_bytes(png_of(neighbors_picture(evaluator, generator, dataset, neighbors, rows_shown)))
    metrics_json.write_csv(out / "psi_sweep.csv", rows)
    write_json(out / "metrics.json", content)
    return content


def neighbors_picture(
    evaluator: Evaluator, sweep: Sweep, dataset: ImageDataset, found: TrainingNeighbors | None, rows: Sequence[int]
) -> Image:
    """Generated images at psi = 1, each beside its nearest training images"""
    if found is None:  # a stage writes all that it promises
        return neighbor_sheet(torch.zeros(0, *dataset.img_shape), torch.zeros(0, 1, *dataset.img_shape), [])
    untruncated = replace(sweep, psis=(1.0,))
    gen = torch.cat([img for row in rows for img in evaluator.pictures(untruncated, range(row, row + 1))])
    train = torch.stack([dataset.batch(found.index[row].tolist())[0] for row in rows])
    return neighbor_sheet(gen, train, neighbor_captions(found.distance[rows], found.spacing[rows]))
