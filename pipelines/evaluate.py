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
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ray import tune
from torch import Tensor

from pipelines.cluster import connect, spread, trial_device, trial_resources, trial_storage
from pipelines.journal import Journal
from pipelines.params import ROOT, ClusterConfig, Params, load
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
from stylegan.metrics.extractors import Extractor, load_extractor
from stylegan.metrics.lpips import load_lpips
from stylegan.metrics.sampling import Latents, draw_labels, real_batches
from stylegan.networks import Generator

SPLIT: Split = "train"  # published FIDs compare with the images that were trained on
Extract = Callable[[Iterable[Tensor], Extractor], Tensor]
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
    torch.set_num_threads(1)  # work is spread over processes; threads that wait for each other make it slower
    with connect(params.cluster):
        spread_out = extract_on(params.cluster, len(dataset))
        evaluator = make_evaluator(params.evaluate, dataset, root / "assets", state, spread_out)
        subjects = subjects_of(evaluator, G, trained["seed"])
        *swept, untrained = measure_all(evaluator, subjects, params.cluster)
    rows = [{"psi": subject.psi} | numbers for subject, numbers in zip(subjects, swept, strict=False)]
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
        "resize_filter": evaluator.extractor.resize_filter,
        "split": SPLIT,
        "archive_sha256": dataset.digest,
        "cur_nimg": trained["cur_nimg"],
        "metrics": {name: value for row in rows if row["psi"] == 1 for name, value in row.items() if name != "psi"},
        "floor": rounded(evaluator.floor()),
        "untrained": untrained,
        "truncation": rows,
    }
    write_json(root / "reports" / "metrics.json", results)
    return results


@dataclass(frozen=True)
class Subject:
    """One generator to measure, at one truncation."""

    name: str
    G: Generator
    latents: Latents
    psi: float


def make_evaluator(
    config: EvaluateConfig, dataset: ImageDataset, weights: Path, state: Path, extract: Extract = extract
) -> Evaluator:
    """Networks, labels, and the features of every image of the data set, from the cache where it has them."""
    extractor = load_extractor(config.extractor, config.extractor_input_size, weights)
    lpips = load_lpips(config.ppl_network, weights)
    real = cached_features(
        state, dataset.digest, SPLIT, extractor, lambda: extract(real_batches(dataset, config.batch_size), extractor)
    )
    c = draw_labels(dataset, max(config.num_images, config.ppl_num_pairs), config.seed)
    return Evaluator(config, extractor, lpips, summarise(real), c, whole_set=is_whole(dataset))


def is_whole(dataset: ImageDataset) -> bool:
    """Whether the data set is every image of its archive, once"""
    everything = ImageDataset(dataset.path, use_labels=False, xflip=False, split="all", max_images=None)
    return len(dataset) == len(everything) and not dataset.xflip


def extract_on(cluster: ClusterConfig, num_images: int) -> Extract:
    """`extract` on the whole cluster, with progress"""

    def run(batches: Iterable[Tensor], extractor: Extractor) -> Tensor:
        features = spread(features_of, batches, cluster, extractor, trial_device(cluster))
        return torch.cat(list(track(features, num_images, "real features", size=len)))

    return run


def features_of(img: Tensor, extractor: Extractor, device: str) -> Tensor:
    """Features [n, F] of one batch of images, on the CPU"""
    return extractor.to(device)(img).cpu()


def subjects_of(evaluator: Evaluator, G: Generator, seed: int) -> list[Subject]:
    """The generator at every psi, ascending, sharing its latents; and last the one that training started from"""
    latents, fresh = evaluator.latents(G), untrained_like(G, seed)
    swept = [Subject(f"psi {psi}", G, latents, psi) for psi in sorted(set(evaluator.config.truncation_psi))]
    return [*swept, Subject("untrained generator", fresh, evaluator.latents(fresh), 1.0)]


def measure_all(evaluator: Evaluator, subjects: list[Subject], cluster: ClusterConfig) -> list[dict[str, float]]:
    """The numbers of every subject, in order, each measured by a trial of Ray Tune.

    Networks, real statistics and latents go to the workers once, through the object store.
    Raises EvaluationError that names the subject which failed.
    """
    shared = {"evaluator": evaluator, "subjects": subjects, "device": trial_device(cluster)}
    with trial_storage(cluster) as storage:
        results = tune.Tuner(
            tune.with_resources(tune.with_parameters(measure_trial, **shared), trial_resources(cluster)),
            param_space={"subject": tune.grid_search(list(range(len(subjects))))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                name="evaluate", storage_path=storage, verbose=0, callbacks=[TrialLines([s.name for s in subjects])]
            ),
        ).fit()
        numbers = {(results[i].config or {})["subject"]: results[i] for i in range(len(results))}
        return [numbers_of(numbers[index], subject.name) for index, subject in enumerate(subjects)]


def numbers_of(result: tune.Result, name: str) -> dict[str, float]:
    """The numbers that the trial of subject `name` reported. Raises EvaluationError for a trial that failed."""
    metrics = result.metrics or {}
    if result.error is not None:  # Ray has printed where
        raise EvaluationError(f"{name}: the trial died: {str(result.error).strip().splitlines()[-1]}")
    if "problem" in metrics:
        raise EvaluationError(f"{name}: {metrics['problem']}")
    return rounded(metrics["numbers"])


def measure_trial(config: dict[str, int], evaluator: Evaluator, subjects: list[Subject], device: str) -> None:
    """One trial: measure subjects[config["subject"]] and report the numbers, or what is wrong with them."""
    subject = subjects[config["subject"]]
    try:
        numbers = evaluator.to(device).measure(subject.G.to(device), subject.latents, subject.psi)
    except MetricError as error:
        tune.report({"problem": str(error)})  # raised here, it would reach the user inside pages of Ray's stack
    else:
        tune.report({"numbers": numbers})


class TrialLines(tune.Callback):
    """Prints a line for each trial that ends, with the time left."""

    def __init__(self, names: list[str]) -> None:
        self.names, self.done, self.start = names, 0, time.monotonic()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.done += 1
        total = len(self.names)
        left = (time.monotonic() - self.start) * (total - self.done) / self.done
        name = self.names[trial.config["subject"]]
        print(f"measured {self.done}/{total}: {name}, {left:.0f} s left", flush=True)


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
