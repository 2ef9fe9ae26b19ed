"""What was measured as the values of metrics.json, with the digits that mean something."""

from collections.abc import Iterable, Sequence
from itertools import combinations

from torch import Tensor

from pipelines.artifacts.metrics_json import (
    ClassResult,
    ExtractorFacts,
    FailureFacts,
    InfinityFacts,
    Metrics,
    Neighbors,
    Realism,
)
from pipelines.diagnosis.frontier import Noise
from stylegan.data import ImageDataset
from stylegan.metrics.evaluation.comparison import Details, Measured
from stylegan.metrics.evaluation.evaluator import Evaluator
from stylegan.metrics.evaluation.metric import Bounds, Metric
from stylegan.metrics.fid import singular_note
from stylegan.metrics.fid_infinity import Extrapolation, infinity_note
from stylegan.metrics.half_samples import balance_error
from stylegan.metrics.memorization import TrainingNeighbors

ACROSS = 11  # images of a row of the sheet of realism
DIGITS = 6  # significant digits written; what differs beyond them is rounding of the machine


def digits(value: float) -> float:
    """The number with the digits that mean something, so that reruns give equal files"""
    return float(f"{value:.{DIGITS}g}")


def rounded(metrics: Iterable[Metric]) -> Metrics:
    """Each number and interval with the digits that mean something"""
    return tuple(
        metric.model_copy(
            update={
                "value": digits(metric.value),
                "interval": None if metric.interval is None else Bounds(*map(digits, metric.interval)),
                "sd": None if metric.sd is None else digits(metric.sd),
            }
        )
        for metric in metrics
    )


def extractor_facts(evaluator: Evaluator) -> ExtractorFacts:
    """The network that measures"""
    extractor = evaluator.extractor
    return ExtractorFacts(name=extractor.name, sha256=extractor.sha256, input_size=extractor.input_size)


def noise_between(psis: Sequence[float], measured: Sequence[Measured]) -> Noise:
    """How far the differences between the psi of one sweep would move with other images"""
    distance, balance = {}, {}
    for (psi, one), (other, two) in combinations(zip(psis, measured, strict=False), 2):
        both = frozenset((psi, other))
        if one.kid_left_out is not None and two.kid_left_out is not None:
            distance[both] = (one.kid_left_out - two.kid_left_out).standard_error
        if one.halves is not None and two.halves is not None:
            balance[both] = balance_error(one.halves, two.halves)
    return Noise(distance, balance)


def neighbors(found: TrainingNeighbors | None, rows: Sequence[int]) -> Neighbors | None:
    """The generated images `rows` and how near their nearest training images are"""
    if found is None:
        return None
    return Neighbors(
        k=found.index.shape[1],
        rows=tuple(rows),
        distance=tuple(tuple(map(digits, found.distance[row].tolist())) for row in rows),
        spacing=tuple(digits(float(found.spacing[row])) for row in rows),
    )


def most_and_least_real(scores: Tensor | None) -> Realism | None:
    """Two rows of the most realistic images and one of the least, of up to ACROSS images each"""
    if scores is None:
        return None
    order = scores.argsort(descending=True, stable=True).tolist()
    across = min(ACROSS, len(order))
    best, worst = order[: 2 * across if len(order) >= 3 * across else across], order[-across:]
    return Realism(
        best=tuple(best),
        best_scores=tuple(digits(float(scores[row])) for row in best),
        worst=tuple(worst),
        worst_scores=tuple(digits(float(scores[row])) for row in worst),
    )


def classes(details: Details, dataset: ImageDataset) -> tuple[ClassResult, ...] | None:
    """The distance within each class, with its name where the archive has names"""
    if details.per_class is None:
        return None
    names = dataset.class_names or [str(found.label) for found in details.per_class]
    return tuple(
        ClassResult(
            label=found.label,
            name=names[found.label],
            num_real=found.num_real,
            num_gen=found.num_gen,
            distance=None if found.distance is None else digits(found.distance),
        )
        for found in details.per_class
    )


def failures(names: Sequence[str], measured: Sequence[Measured]) -> tuple[FailureFacts, ...]:
    """What could not be computed in each measurement"""
    return tuple(
        FailureFacts(measurement=name, metric=failure.metric, reason=failure.reason)
        for name, each in zip(names, measured, strict=True)
        for failure in each.failures
    )


def infinity(line: Extrapolation | None) -> InfinityFacts | None:
    """How well FID-infinity's line fits"""
    return None if line is None else InfinityFacts(r2=digits(line.r2), num_images=line.counts)


def notes(evaluator: Evaluator, dataset: ImageDataset, line: Extrapolation | None) -> tuple[str, ...]:
    """What to know before the numbers are compared"""
    asked = "fid" in evaluator.config.metrics
    singular = singular_note(len(dataset), evaluator.config.num_images, evaluator.extractor.num_features)
    found = [singular] if asked and singular is not None else []
    if line is not None:
        found.append(infinity_note(line, evaluator.extractor.num_features))
    if "fid_infinity" in evaluator.config.metrics:
        found.append("The real-image baseline has no FID-infinity: no part of the real images is large enough.")
    if not evaluator.keeps_features:
        found.append("The real-image baseline needs features, and FID alone keeps none: add kid to evaluate.metrics.")
    return tuple(found)
