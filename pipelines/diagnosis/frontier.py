"""The truncation frontier: fidelity against variety over psi, and which psi to show.

The rule, pure and printed with its result: candidates are the psi whose KID (without KID, FID) cannot be told from the
lowest one, and among them the one with the best balance of precision and recall is recommended.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.artifacts.metric_names import (
    LOWER_IS_BETTER,
    Row,
    distance_of,
    kind_of,
    label_of,
    metric_names,
    name_of,
    short,
)
from pipelines.diagnosis.thresholds import MARGIN

COLUMNS = ("kid", "fid", "frechet", "precision", "recall", "ppl")  # of the table for terminals
_GAP = "  "


@dataclass(frozen=True)
class Recommendation:
    """The truncation to show images at, and why in one sentence."""

    psi: float
    sentence: str


def recommend(rows: Sequence[Row]) -> Recommendation:
    """The psi of the sweep that trades best.

    Candidates are at or below the upper bound of the lowest distance's confidence interval, or without an interval
    within MARGIN of it. The highest harmonic mean of precision and recall wins, and of equals the higher psi, which
    has more variety.
    Raises ValueError for a sweep without rows or without a distance.
    """
    if not rows:
        raise ValueError("the truncation sweep has no rows. evaluate.truncation_psi needs at least psi = 1.")
    metric = distance_of(rows[0])
    lowest = min(rows, key=lambda row: (row[metric], -row["psi"]))
    candidates = [row for row in rows if row[metric] <= _limit(lowest, metric)]
    best = max(candidates, key=lambda row: (balance(row), row["psi"]))
    if len(rows) == 1:
        return Recommendation(
            best["psi"],
            f"Only psi {best['psi']:g} was measured ({label_of(metric)} {short(best[metric], 3)}); add more to "
            "evaluate.truncation_psi to see the trade.",
        )
    reasons = f"{_why_close(best, lowest, candidates, metric)}{_why_balanced(best, candidates)}"
    return Recommendation(best["psi"], f"psi {best['psi']:g} is the best trade: {reasons}.")


def balance(row: Row) -> float:
    """Harmonic mean of precision and recall (their F1); 0 where one of them is 0 or was not measured"""
    precision, recall = (row[name] if (name := name_of(row, kind)) else 0.0 for kind in ("precision", "recall"))
    return 2 * precision * recall / (precision + recall) if precision and recall else 0.0


def best_of_columns(rows: Sequence[Row]) -> dict[str, float]:
    """For each metric the psi at which it is best; of equals the higher psi"""
    best = {}
    for metric in metric_names(rows[0]):
        sign = -1 if kind_of(metric) in LOWER_IS_BETTER else 1
        best[metric] = max((sign * row[metric], row["psi"]) for row in rows)[1]
    return best


def table(rows: Sequence[Row]) -> str:
    """The frontier for a terminal, by rising psi: the best of each column and the recommended psi are marked"""
    best, chosen = best_of_columns(rows), recommend(rows).psi
    names = [name for name in metric_names(rows[0]) if kind_of(name) in COLUMNS]
    lines = [["psi", *names]]
    for row in sorted(rows, key=lambda row: float(row["psi"])):
        mark = " <" if row["psi"] == chosen else "  "
        lines.append([f"{row['psi']:g}{mark}", *(_cell(row, name, best[name] == row["psi"]) for name in names)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (_GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join([*(line.rstrip() for line in aligned), "* best of its column, < recommended"])


def _cell(row: Row, metric: str, is_best: bool) -> str:
    interval = row.get("intervals", {}).get(metric) if kind_of(metric) == "kid" else None
    bounds = f" [{short(interval[0], 3)}, {short(interval[1], 3)}]" if interval else ""
    return f"{short(row[metric], 4)}{bounds}{' *' if is_best else ''}"


def _limit(lowest: Row, metric: str) -> float:
    """The highest distance that counts as equal to the lowest"""
    value, interval = float(lowest[metric]), lowest.get("intervals", {}).get(metric)
    # An interval is of the whole sets and the value a mean over subsets, so the value may lie outside.
    return max(value, float(interval[1])) if interval else value + MARGIN * abs(value)


def _why_close(best: Row, lowest: Row, candidates: Sequence[Row], metric: str) -> str:
    name, has_interval = label_of(metric), metric in lowest.get("intervals", {})
    if best is not lowest:
        relation = "cannot be told from the lowest" if has_interval else f"is within {MARGIN:.0%} of the lowest"
        return f"its {name} {short(best[metric], 3)} {relation} ({short(lowest[metric], 3)} at psi {lowest['psi']:g})"
    if len(candidates) == 1:
        bound = "its confidence interval" if has_interval else f"{MARGIN:.0%} of it"
        return f"its {name} {short(best[metric], 3)} is the lowest, and no other psi comes within {bound}"
    return f"its {name} {short(best[metric], 3)} is the lowest"


def _why_balanced(best: Row, candidates: Sequence[Row]) -> str:
    """The second half of the sentence; empty where the distance alone decides"""
    precision, recall = name_of(best, "precision"), name_of(best, "recall")
    if len(candidates) == 1:
        return ""
    those = f"the {len(candidates)} psi that the distance cannot tell apart"
    if precision is None or recall is None:
        return f", and of {those} the highest has the most variety; precision and recall were not both measured"
    if balance(best) == 0:
        return f", and of {those} the highest has the most variety; precision or recall is 0 at each"
    return f", and precision {best[precision]:.2g} with recall {best[recall]:.2g} are the best balance among {those}"
