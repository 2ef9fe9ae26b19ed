"""Made-up contents of reports/metrics.json and models/train.json, complete, for tests of what reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.artifacts import train_json
from pipelines.artifacts.train_json import TrainRecord
from pipelines.diagnosis.frontier import recommend


def evaluation_results(
    metrics: Mapping[str, float],
    *,
    floor: Mapping[str, float],
    untrained: Mapping[str, float],
    truncation: Sequence[Mapping[str, Any]] = (),
    **others: Any,
) -> dict[str, Any]:
    """Results of 1000 images by extractor x; without truncation, a sweep of psi = 1 alone. Others replace entries."""
    rows = list(truncation) or [{"psi": 1.0} | dict(metrics) | {"intervals": {}}]
    content: dict[str, Any] = {
        "extractor": {"name": "x", "sha256": "e" * 64, "input_size": 128},
        "num_images": 1000, "num_real": 2000, "floor_num_images": 1000, "seed": 3, "resize_filter": "bicubic",
        "split": "train", "archive_sha256": "a" * 64, "generator_sha256": "d" * 64, "cur_nimg": 60000,
        "metrics": dict(metrics), "intervals": {}, "confidence": 0.95, "floor": dict(floor),
        "untrained": dict(untrained), "truncation": rows, "recommended": asdict(recommend(rows)), "neighbors": None,
        "per_class": None, "notes": [],
    }  # fmt: skip
    assert others.keys() <= content.keys()
    return content | others


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
