"""What kind of number a metric is: its name carries the network or the protocol, its kind is what readers know."""

import re
from collections.abc import Mapping
from typing import Any

DISTANCES = ("kid", "fid", "frechet")  # between generated and real images, the fairest to small sets first
LOWER_IS_BETTER = (*DISTANCES, "fid_infinity", "memorized", "ppl")
HIGHER_IS_BETTER = ("precision", "recall", "density", "coverage", "is")
LABELS = {"kid": "KID", "fid": "FID", "frechet": "Frechet distance", "ppl": "PPL", "is": "IS"}  # others: their kind

Row = Mapping[str, Any]  # psi, or nothing of the kind; metrics by name; intervals


def kind_of(metric: str) -> str:
    """kid_efflite0, kid50k_full -> kid; pr50k3_full_recall -> recall; fid_infinity_inception -> fid_infinity"""
    if metric.startswith(("fid_infinity", "frechet_infinity")):
        return "fid_infinity"
    if re.match(r"pr\d", metric):
        return metric.rpartition("_")[2]
    letters = re.match(r"[a-z]*", metric)
    return letters.group() if letters else ""


def label_of(metric: str) -> str:
    """What a sentence calls the metric: KID, FID, recall"""
    kind = kind_of(metric)
    return LABELS.get(kind, kind)


def short(value: float, digits: int) -> str:
    """A number for people: so many significant digits, and never 1.4e+03"""
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text else text


def metric_names(row: Row) -> list[str]:
    """Names of the numbers of a row of the truncation sweep"""
    return [name for name in row if name not in ("psi", "intervals")]


def name_of(row: Row, kind: str) -> str | None:
    """Name of the first metric of a kind, if the row has one"""
    return next((name for name in metric_names(row) if kind_of(name) == kind), None)


def distance_of(row: Row) -> str:
    """Name of the distance that results are judged by: KID, or without it FID, or the Frechet distance.

    Raises ValueError when none was measured.
    """
    names = (name_of(row, kind) for kind in DISTANCES)
    found = next((name for name in names if name), None)
    if found is None:
        raise ValueError("no kid, fid or frechet was measured. Add kid or fid to evaluate.metrics.")
    return found
