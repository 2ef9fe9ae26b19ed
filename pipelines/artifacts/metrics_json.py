"""What was measured as the plain values of metrics.json, psi_sweep.csv and the console.

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

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.artifacts.dataset import SPLIT
from stylegan import files
from stylegan.data import ImageDataset
from stylegan.metrics.evaluation.comparison import Details, Measured
from stylegan.metrics.evaluation.evaluator import Evaluator
from stylegan.metrics.fid import singular_note
from stylegan.metrics.memorization import TrainingNeighbors

DIGITS = 6  # significant digits written; what differs beyond them is rounding of the machine
Row = dict[str, Any]


def digits(value: float) -> float:
    """The number with the digits that mean something, so that reruns give equal files"""
    return float(f"{value:.{DIGITS}g}")


def rounded(numbers: Mapping[str, float]) -> dict[str, float]:
    """Each number with the digits that mean something"""
    return {name: digits(value) for name, value in numbers.items()}


def row(psi: float, found: Measured) -> Row:
    """One truncation: its psi, numbers and intervals"""
    intervals = {name: [digits(bound) for bound in bounds] for name, bounds in found.intervals.items()}
    return {"psi": psi, **rounded(found.numbers), "intervals": intervals}


def headline(rows: Sequence[Row], confidence: float) -> dict[str, Any]:
    """Numbers and intervals without truncation"""
    untruncated = next(row for row in rows if row["psi"] == 1)
    numbers = {name: value for name, value in untruncated.items() if name not in ("psi", "intervals")}
    return {"metrics": numbers, "intervals": untruncated["intervals"], "confidence": confidence}


def protocol(evaluator: Evaluator, dataset: ImageDataset) -> dict[str, Any]:
    """How it was measured, and against what"""
    extractor, config = evaluator.extractor, evaluator.config
    return {
        "extractor": {"name": extractor.name, "sha256": extractor.sha256, "input_size": extractor.input_size},
        "num_images": config.num_images,
        "num_real": len(dataset),
        "floor_num_images": min(config.num_images, len(dataset) // 2),
        "seed": config.seed,
        "resize_filter": extractor.resize_filter,
        "split": SPLIT,
        "archive_sha256": dataset.digest,
    }


def neighbors(found: TrainingNeighbors | None, rows: Sequence[int]) -> dict[str, Any] | None:
    """The generated images `rows` and how near their nearest training images are"""
    if found is None:
        return None
    return {
        "k": found.index.shape[1],
        "rows": list(rows),
        "distance": [[digits(distance) for distance in found.distance[row].tolist()] for row in rows],
        "spacing": [digits(float(found.spacing[row])) for row in rows],
    }


def classes(details: Details, dataset: ImageDataset) -> list[dict[str, Any]] | None:
    """The distance within each class, with its name where the archive has names"""
    if details.per_class is None:
        return None
    names = dataset.class_names or [str(found.label) for found in details.per_class]
    return [
        {
            "label": found.label,
            "name": names[found.label],
            "num_real": found.num_real,
            "num_gen": found.num_gen,
            "distance": None if found.distance is None else digits(found.distance),
        }
        for found in details.per_class
    ]


def notes(evaluator: Evaluator, dataset: ImageDataset) -> list[str]:
    """What to know before the numbers are compared"""
    asked = "fid" in evaluator.config.metrics
    singular = singular_note(len(dataset), evaluator.config.num_images, evaluator.extractor.num_features)
    found = [singular] if asked and singular is not None else []
    if not evaluator.keeps_features:
        found.append("The real-vs-real floor needs features, and FID alone keeps none: add kid to evaluate.metrics.")
    return found


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write the truncation sweep, one row a psi, the bounds of an interval as columns NAME_low and NAME_high."""
    flat = [
        {name: value for name, value in row.items() if name != "intervals"}
        | {f"{name}_{end}": bound for name, bounds in row["intervals"].items()
           for end, bound in zip(("low", "high"), bounds, strict=True)}
        for row in rows
    ]  # fmt: skip
    files.write_csv(path, flat)


def table(content: Mapping[str, Any]) -> str:
    """The columns a reader compares: this generator, real images, the untrained one, and the interval"""
    level = f"{content['confidence']:.0%} interval"
    lines = [f"{'':24}{'generator':>12}{'real':>12}{'untrained':>12}   {level}"]
    for name, value in content["metrics"].items():
        cells = [value, content["floor"].get(name), content["untrained"].get(name)]
        bounds = content["intervals"].get(name)
        shown = "" if bounds is None else f"   {bounds[0]:.4g} to {bounds[1]:.4g}"
        numbers = "".join(f"{'' if cell is None else format(cell, '.4g'):>12}" for cell in cells)
        lines.append(f"{name:24}{numbers}{shown}")
    return "\n".join([*lines, *content["notes"]])
