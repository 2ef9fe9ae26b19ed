"""Stage `evaluate`: generator and archive -> reports/metrics.json and reports/psi_sweep.csv.

metrics.json, made for `dvc metrics show`; the names of numbers end in the network that measured:

    extractor         name, sha256 of the weights, input_size in pixels
    num_images        generated images per measurement
    num_real          images of the split, all of which are compared with
    floor_num_images  real images that play the generator in `floor`
    seed, resize_filter, split, archive_sha256, cur_nimg
    metrics           kid_* fid_* precision_* recall_* ppl_* at psi = 1
    floor             the same but ppl, of real images: a random part of the split against the disjoint rest
    untrained         as metrics, of the generator that training started from
    truncation        a list over psi, ascending: psi and its metrics; also the rows of psi_sweep.csv
"""

import csv
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from ray import tune
from torch import Tensor

from pipelines.cluster import connect, trial_device, trial_resources, trial_storage
from pipelines.journal import Journal
from pipelines.params import ROOT, Params, load
from pipelines.progress import track
from pipelines.recording import record_evaluation
from pipelines.tracking import publishing
from stylegan.checkpoint import CheckpointError, load_generator
from stylegan.config import ConfigError, EvaluateConfig
from stylegan.data import ArchiveError, ImageDataset
from stylegan.data.dataset import Split
from stylegan.files import replacing, write_json
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.evaluator import Evaluator, cached_features, extract, summarise, untrained_like
from stylegan.metrics.extractors import RESIZE_FILTER, load_extractor
from stylegan.metrics.lpips import load_lpips
from stylegan.metrics.sampling import Latents, draw_labels, real_batches
from stylegan.networks import Generator

SPLIT: Split = "train"  # published FIDs compare with the images that were trained on
DIGITS = 6  # significant digits written; what differs beyond them is rounding of the machine


class EvaluationError(RuntimeError):
    """The stage cannot run on what it found, or a trial failed; the message says what to do."""


def evaluate(params: Params, root: Path, state: Path) -> dict[str, Any]:
    """Measure the generator under `root`, write both reports there, and return the content of metrics.json.

    Real features are kept in the folder `state` for the next time.
    Raises EvaluationError, and the errors of the files it reads, each with its remedy.
    """
    trained = _read_json(root / "models" / "train.json")
    G = load_generator(root / "models" / "generator.safetensors")
    dataset = ImageDataset(
        root / "data" / "archive.zip", use_labels=G.c_dim > 0, xflip=False, split=SPLIT, max_images=None
    )
    _check_fit(G, dataset, trained)
    evaluator = make_evaluator(params.evaluate, dataset, root / "assets", state)
    floor = evaluator.floor()
    untrained = measure_untrained(evaluator, G, trained["seed"], params)
    rows = sweep(evaluator, G, params)
    write_csv(root / "reports" / "psi_sweep.csv", rows)
    results = {
        "extractor": {
            "name": evaluator.extractor.name,
            "sha256": evaluator.extractor.sha256,
            "input_size": evaluator.extractor.input_size,
        },
        "num_images": params.evaluate.num_images,
        "num_real": len(dataset),
        "floor_num_images": min(params.evaluate.num_images, len(dataset) // 2),
        "seed": params.evaluate.seed,
        "resize_filter": RESIZE_FILTER,
        "split": SPLIT,
        "archive_sha256": dataset.digest,
        "cur_nimg": trained["cur_nimg"],
        "metrics": {name: value for row in rows if row["psi"] == 1 for name, value in row.items() if name != "psi"},
        "floor": rounded(floor),
        "untrained": rounded(untrained),
        "truncation": rows,
    }
    write_json(root / "reports" / "metrics.json", results)
    return results


def make_evaluator(config: EvaluateConfig, dataset: ImageDataset, weights: Path, state: Path) -> Evaluator:
    """Networks, labels, and the features of every image of the data set, from the cache where it has them."""
    extractor = load_extractor(config.extractor, config.extractor_input_size, weights)
    lpips = load_lpips(config.ppl_network, weights)

    def compute() -> Tensor:
        shown = track(real_batches(dataset, config.batch_size), len(dataset), "real features", size=len)
        return extract(shown, extractor)

    real = cached_features(state, dataset.digest, SPLIT, extractor, compute)
    c = draw_labels(dataset, max(config.num_images, config.ppl_num_pairs), config.seed)
    return Evaluator(config, extractor, lpips, summarise(real), c)


def measure_untrained(evaluator: Evaluator, G: Generator, seed: int, params: Params) -> dict[str, float]:
    """The numbers at psi = 1 of the generator that training started from"""

    def show(batches: Iterable[Tensor]) -> Iterator[Tensor]:
        return track(batches, params.evaluate.num_images, "untrained generator", size=len)

    fresh = untrained_like(G, seed)
    return evaluator.measure(fresh, evaluator.latents(fresh), 1.0, show)


def sweep(evaluator: Evaluator, G: Generator, params: Params) -> list[dict[str, float]]:
    """Measure at every evaluate.truncation_psi with Ray Tune  ->  a row for each psi, ascending

    Networks, real statistics and latents go to the workers once, through the object store.
    Raises EvaluationError that names the psi which failed.
    """
    psis = sorted(set(params.evaluate.truncation_psi))
    shared = {"evaluator": evaluator, "G": G, "latents": evaluator.latents(G), "device": trial_device(params.cluster)}
    with connect(params.cluster), trial_storage(params.cluster) as storage:
        trainable = tune.with_resources(tune.with_parameters(measure_trial, **shared), trial_resources(params.cluster))
        results = tune.Tuner(
            trainable,
            param_space={"psi": tune.grid_search(psis)},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                name="truncation", storage_path=storage, verbose=0, callbacks=[TrialLines(len(psis))]
            ),
        ).fit()
        return sorted((row_of(results[i]) for i in range(len(results))), key=lambda row: row["psi"])


def row_of(result: tune.Result) -> dict[str, float]:
    """psi and its numbers, of one trial. Raises EvaluationError for a trial that failed."""
    psi, metrics = (result.config or {})["psi"], result.metrics or {}
    if result.error is not None:  # Ray has printed where
        raise EvaluationError(f"psi = {psi}: the trial died: {str(result.error).strip().splitlines()[-1]}")
    if "problem" in metrics:
        raise EvaluationError(f"psi = {psi}: {metrics['problem']}")
    return {"psi": psi, **rounded(metrics["numbers"])}


def measure_trial(config: dict[str, float], evaluator: Evaluator, G: Generator, latents: Latents, device: str) -> None:
    """One trial of the sweep: measure at config["psi"] and report the numbers, or what is wrong with them."""
    try:
        numbers = evaluator.to(device).measure(G.to(device), latents, config["psi"])
    except MetricError as error:
        tune.report({"problem": str(error)})  # raised here, it would reach the user inside pages of Ray's stack
    else:
        tune.report({"numbers": numbers})


class TrialLines(tune.Callback):
    """Prints a line for each trial that ends, with the time left."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.start = total, 0, time.monotonic()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.done += 1
        left = (time.monotonic() - self.start) * (self.total - self.done) / self.done
        print(f"psi {trial.config['psi']}: measured, {self.done}/{self.total}, {left:.0f} s left", flush=True)


def rounded(numbers: dict[str, float]) -> dict[str, float]:
    """Each number with the digits that mean something, so that reruns give equal files"""
    return {name: float(f"{value:.{DIGITS}g}") for name, value in numbers.items()}


def write_csv(path: Path, rows: list[dict[str, float]]) -> None:
    """Write the truncation sweep, one row a psi."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def table(results: dict[str, Any]) -> str:
    """The three columns a reader compares: this generator, real images, and the untrained one"""
    lines = [f"{'':24}{'generator':>12}{'real':>12}{'untrained':>12}"]
    for name, value in results["metrics"].items():
        cells = [value, results["floor"].get(name), results["untrained"][name]]
        lines.append(f"{name:24}" + "".join(f"{'' if cell is None else format(cell, '.4g'):>12}" for cell in cells))
    return "\n".join(lines)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise EvaluationError(f"{path}: no training record there. Run `dvc repro train`, which writes it.")
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def _check_fit(G: Generator, dataset: ImageDataset, trained: dict[str, Any]) -> None:
    """Raise EvaluationError unless the generator was trained on this archive."""
    if trained["archive_sha256"] != dataset.digest:
        raise EvaluationError(
            f"{dataset.path}: its sha256 is {dataset.digest[:12]}, but the generator was trained on "
            f"{trained['archive_sha256'][:12]}. Run `dvc repro evaluate`, which trains on the present archive first."
        )
    made, wanted = (G.img_resolution, G.img_channels, G.c_dim), (dataset.resolution, dataset.channels, dataset.c_dim)
    if made != wanted:
        raise EvaluationError(
            f"{dataset.path}: resolution, channels and label width are {wanted}, of the generator {made}. "
            "Run `dvc repro evaluate`, which trains on the present archive first."
        )


def main() -> None:
    """Evaluate what params.yaml says, with `section.key=value` arguments over it, and record it for MLflow."""
    params = load(overrides=sys.argv[1:])
    torch.set_num_threads(os.cpu_count() or 1)
    root = Path.cwd()
    fingerprint = _read_json(root / "models" / "train.json")["fingerprint"]
    journal = Journal(ROOT / "runs" / fingerprint)
    with publishing(journal, params.tracking):
        results = evaluate(params, root, ROOT / "runs" / "features")
        record_evaluation(journal, results, params)
    print(table(results))


if __name__ == "__main__":
    try:
        main()
    except (ArchiveError, CheckpointError, ConfigError, EvaluationError, FileNotFoundError, MetricError) as error:
        sys.exit(f"evaluate: {error}")
