"""Made-up contents of reports/metrics.json and models/train.json, complete, for tests of what reads them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.artifacts import train_json
from pipelines.artifacts.metrics_json import ExtractorFacts, Metrics, MetricsReport, Truncation
from pipelines.artifacts.train_json import TrainRecord
from pipelines.diagnosis.frontier import recommend
from stylegan.metrics.evaluation.metric import KINDS, Bounds, Kind, Metric

Intervals = Mapping[str, Sequence[float]]


def kind_of(name: str) -> Kind:
    """Kind of the made-up metrics of tests: kid_x, fid50k_full, pr50k3_full_recall."""
    if name.startswith("frechet_infinity"):
        return "fid_infinity"
    tail = name.rpartition("_")[2] if re.match(r"pr\d", name) else name
    return next(kind for kind in sorted(KINDS, key=len, reverse=True) if tail.startswith(kind))


def metrics_of(numbers: Mapping[str, float], intervals: Intervals = {}) -> Metrics:  # noqa: B006 - never changed
    """Metrics by extractor x of these names, some with an interval."""
    return tuple(
        Metric(
            name=name, kind=kind_of(name), extractor="x", value=value,
            interval=Bounds(*intervals[name]) if name in intervals else None,
        )
        for name, value in numbers.items()
    )  # fmt: skip


def truncation(psi: float, numbers: Mapping[str, float], intervals: Intervals = {}) -> Truncation:  # noqa: B006
    """What was measured at one psi."""
    return Truncation(psi=psi, metrics=metrics_of(numbers, intervals))


def evaluation_results(
    metrics: Mapping[str, float],
    *,
    floor: Mapping[str, float],
    untrained: Mapping[str, float],
    intervals: Intervals = {},  # noqa: B006
    sweep: Sequence[Truncation] = (),
    **others: Any,
) -> MetricsReport:
    """Results of 1000 images by extractor x; without a sweep, one of psi = 1 alone. Others replace fields."""
    rows = tuple(sweep) or (truncation(1.0, metrics),)
    report = MetricsReport(
        extractor=ExtractorFacts(name="x", sha256="e" * 64, input_size=128),
        num_images=1000, num_real=2000, floor_num_images=1000, floor_num_real=1000, floor_num_splits=10,
        seed=3, resize_filter="bicubic", prepare_resize_filter="lanczos", split="train",
        archive_sha256="a" * 64, generator_sha256="d" * 64, cur_nimg=60000, metrics=metrics_of(metrics, intervals),
        confidence=0.95, floor=metrics_of(floor),
        like_floor=metrics_of({name: metrics[name] for name in floor if name in metrics}),
        untrained=metrics_of(untrained), truncation=rows,
        recommended=recommend(rows), neighbors=None, realism=None, per_class=None, failures=(), infinity=None, notes=(),
    )  # fmt: skip
    assert others.keys() <= MetricsReport.model_fields.keys()
    return report.model_copy(update=others)


def results(kid: float = 0.1, floor: float = 0.001, untrained: float = 0.4, **others: Any) -> MetricsReport:
    """Results with KID, precision, recall and a path length."""
    precision, recall = others.pop("precision", 0.6), others.pop("recall", 0.6)
    return evaluation_results(
        {"kid_x": kid, "precision_x": precision, "recall_x": recall, "ppl_y": 30.0},
        floor={"kid_x": floor, "precision_x": 0.8, "recall_x": 0.8},
        untrained={"kid_x": untrained, "precision_x": 0.0, "recall_x": 0.0, "ppl_y": 3.0},
        **others,
    )


def write_train_record(root: Path, **others: Any) -> None:
    """models/train.json of a run that began fresh; others replace entries."""
    record = TrainRecord(
        fingerprint="abc",
        archive_sha256="a" * 64,
        resume_from=None,
        snapshot="best",
        cur_nimg=32,
        trained_nimg=48,
        seed=0,
    )
    train_json.write(root, record.model_copy(update=others))
