"""Stage `evaluate`: generator and archive -> reports/metrics.json, psi_sweep.csv and neighbors.png.

With --network the same of any network on any data; see `python -m pipelines.evaluate --help`.

metrics.json, made for `dvc metrics show`; the names of numbers end in the network that measured:

    extractor         name, sha256 of the weights, input_size in pixels
    num_images        generated images per measurement
    num_real          images of the split, all of which are compared with
    floor_num_images  real images that play the generator in `floor`
    seed, resize_filter, split, archive_sha256, generator_sha256
    cur_nimg          real images the generator was trained on; null where the file does not say
    metrics           what evaluate.metrics asks for, at psi = 1: kid_* fid_* precision_* recall_* density_* coverage_*
                      memorized_* is_* fid_infinity_* ppl_*
    intervals         [low, high] of some of them, by the bootstrap; `confidence` is their level
    floor             metrics of real images: a random part of the split against the disjoint rest; no ppl; memorized_*
                      is that of the held-out images, if there are any
    untrained         as metrics, of the generator that training started from
    truncation        a list over psi, ascending: psi, its metrics and its intervals; also the rows of psi_sweep.csv
    recommended       the psi that is the best trade, and a sentence that says why
    neighbors         generated images suspiciously near to training images, as drawn in neighbors.png: rows, distance
                      to each of the k nearest, spacing (from the nearest one to its own nearest); null if not measured
    per_class         label, name, num_real, num_gen, distance of each class; null without classes
    notes             what to know before the numbers are compared
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image

from pipelines import frontier, results
from pipelines.cluster import connect
from pipelines.journal import Journal
from pipelines.measuring import SPLIT, make_evaluator, measure_on_cluster
from pipelines.params import ROOT, Params, load
from pipelines.recording import record_evaluation
from pipelines.sheets import neighbor_captions, neighbor_sheet, png_of
from pipelines.tracking import publishing
from stylegan.checkpoint import CheckpointError, load_generator
from stylegan.config import ConfigError
from stylegan.data import ArchiveError, ImageDataset
from stylegan.files import replacing, sha256_of, write_json
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.evaluator import Evaluator, Sweep, untrained_like
from stylegan.metrics.memorization import TrainingNeighbors
from stylegan.networks import Generator


class EvaluationError(RuntimeError):
    """The stage cannot run on what it found; the message says what to do."""


def evaluate(params: Params, root: Path, state: Path) -> dict[str, Any]:
    """Measure the generator under `root`, write the reports there, and return the content of metrics.json.

    Statistics of real images are kept in the folder `state` for the next time.
    Raises EvaluationError, and the errors of the files it reads, each with its remedy.
    """
    trained = _read_json(root / "models" / "train.json")
    path = root / "models" / "generator.safetensors"
    G = load_generator(path)
    dataset = open_dataset(root / "data" / "archive.zip", G)
    if trained["archive_sha256"] != dataset.digest:
        raise EvaluationError(
            f"{dataset.path}: its sha256 is {dataset.digest[:12]}, but the generator was trained on "
            f"{trained['archive_sha256'][:12]}. Run `dvc repro evaluate`, which trains on the present archive first."
        )
    facts = {"generator_sha256": sha256_of(path), "cur_nimg": trained["cur_nimg"]}
    return measure(params, G, dataset, facts, root / "assets", state, root / "reports")


def open_dataset(archive: Path, G: Generator) -> ImageDataset:
    """The real images of an archive. Raises EvaluationError unless G makes images and takes labels like them."""
    dataset = ImageDataset(archive, use_labels=G.c_dim > 0, xflip=False, split=SPLIT, max_images=None)
    made, wanted = (G.img_resolution, G.img_channels, G.c_dim), (dataset.resolution, dataset.channels, dataset.c_dim)
    if made != wanted:
        raise EvaluationError(
            f"{dataset.path}: resolution, channels and label width are {wanted}, of the generator {made}. "
            "Evaluate it on images of its own kind: `dvc repro evaluate` trains on the present archive first, and "
            "--data takes other images."
        )
    return dataset


def measure(
    params: Params, G: Generator, dataset: ImageDataset, facts: dict[str, Any], weights: Path, state: Path, out: Path
) -> dict[str, Any]:
    """Measure G at every psi, and untrained, against the data set, and write the reports into the folder `out`.

    facts: what metrics.json says about G beside the measurements.
    """
    evaluator = make_evaluator(params.evaluate, dataset, weights)
    generator = Sweep("generator", G, tuple(sorted(set(params.evaluate.truncation_psi))))
    untrained = Sweep("untrained generator", untrained_like(G, params.train.seed), (1.0,))
    with connect(params.cluster):
        measured = measure_on_cluster(evaluator, [generator, untrained], dataset, state, params.cluster)
    rows = [results.row(psi, found) for psi, found in zip(generator.psis, measured, strict=False)]
    details = measured[generator.psis.index(1.0)].details
    assert details is not None, "found at psi 1"
    neighbors = details.neighbors
    rows_shown = [] if neighbors is None else neighbors.most_suspicious(params.evaluate.neighbors_num_shown)
    content = (
        results.protocol(evaluator, dataset)
        | facts
        | results.headline(rows, params.evaluate.bootstrap_level)
        | {"floor": results.rounded(measured[-1].numbers), "untrained": results.rounded(measured[-2].numbers)}
        | {"truncation": rows, "recommended": asdict(frontier.recommend(rows))}
        | {"neighbors": results.neighbors(neighbors, rows_shown), "per_class": results.classes(details, dataset)}
        | {"notes": results.notes(evaluator, dataset)}
    )
    with replacing(out / "neighbors.png") as temporary:
        temporary.write_bytes(png_of(neighbors_picture(evaluator, generator, dataset, neighbors, rows_shown)))
    results.write_csv(out / "psi_sweep.csv", rows)
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


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise EvaluationError(f"{path}: no training record there. Run `dvc repro train`, which writes it.")
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate what params.yaml says, with `section.key=value` arguments over it, and record it for MLflow."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.evaluate", description="Measure a generator.")
    parser.add_argument("--network", type=Path, metavar="FILE", help="any network: .safetensors, or an official .pkl")
    parser.add_argument("--data", type=Path, metavar="DATA", help="archive, folder or data set (data/archive.zip)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where reports go (reports/evaluations/NAME)")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    options = parser.parse_args(arguments)
    params = load(overrides=options.overrides)
    if options.network is not None:
        from pipelines.evaluate_file import evaluate_file  # the stage itself needs no reader of foreign files

        content = evaluate_file(params, options.network, options.data, options.out)
    elif options.data is not None or options.out is not None:
        parser.error("--data and --out go with --network; the stage evaluates models/generator.safetensors")
    else:
        root = Path.cwd()
        journal = Journal(ROOT / "runs" / _read_json(root / "models" / "train.json")["fingerprint"])
        with publishing(journal, params.tracking):
            content = evaluate(params, root, ROOT / "runs" / "features")
            record_evaluation(journal, content, params)
    print(results.table(content), frontier.table(content["truncation"]), content["recommended"]["sentence"], sep="\n")


if __name__ == "__main__":
    try:
        main()
    except (ArchiveError, CheckpointError, ConfigError, EvaluationError, FileNotFoundError, MetricError) as error:
        sys.exit(f"evaluate: {error}")
