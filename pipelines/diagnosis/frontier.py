"""The truncation frontier: fidelity against variety over psi, and which psi to show.

The rule, pure and printed with its result: candidates are the psi whose KID (without KID, FID) is statistically
indistinguishable from the lowest one, and among them the one with the best balance of precision and recall is
recommended. All psi share latents, noise and real images, so differences are compared with their own noise, in which
what all owe to these images cancels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.artifacts.metrics_json import Recommended, Truncation
from pipelines.diagnosis.thresholds import MARGIN, NOISE_ERRORS
from stylegan.metrics.evaluation.metric import Kind, Metric, by_name, distance_of, find, short

COLUMNS: tuple[Kind, ...] = ("kid", "fid", "frechet", "precision", "recall", "ppl")  # of the table for terminals
_GAP = "  "
Errors = Mapping[frozenset[float], float]  # standard error of the difference between each two psi


@dataclass(frozen=True)
class Noise:
    """How far differences between two psi would move with other images; empty where that is not known."""

    distance: Errors = field(default_factory=dict)
    balance: Errors = field(default_factory=dict)


def recommend(rows: Sequence[Truncation], noise: Noise | None = None) -> Recommended:
    """The psi of the sweep that trades best.

    Candidates exceed the lowest distance by no more than the noise of the difference, or where that is not known by no
    more than MARGIN. The highest harmonic mean of precision and recall wins, and of those that do not differ from it by
    more than noise the highest psi, which has more variety.
    Raises ValueError for a sweep without rows or without a distance.
    """
    if not rows:
        raise ValueError("the truncation sweep has no rows. evaluate.truncation_psi needs at least psi = 1.")
    noise, finite = noise or Noise(), [row for row in rows if math.isfinite(distance_of(row.metrics).value)]
    if not finite:
        psi, label = max(row.psi for row in rows), distance_of(rows[0].metrics).label
        return Recommended(psi=psi, sentence=f"No psi can be recommended: {label} is not a finite number at any.")
    lowest = min(finite, key=lambda row: (distance_of(row.metrics).value, -row.psi))
    candidates = [row for row in finite if _is_close(row, lowest, noise.distance)]
    most = max(candidates, key=lambda row: (balance(row.metrics), row.psi))
    ties = [row for row in candidates if _is_balanced(row, most, noise.balance)]
    best = max(ties, key=lambda row: row.psi)
    if len(rows) == 1:
        distance = distance_of(best.metrics)
        return Recommended(
            psi=best.psi,
            sentence=f"Only psi {best.psi:g} was measured ({distance.label} {short(distance.value, 3)}); add more to "
            "evaluate.truncation_psi to see the trade.",
        )
    reasons = f"{_why_close(best, lowest, candidates, noise)}{_why_balanced(best, most, candidates)}"
    return Recommended(psi=best.psi, sentence=f"psi {best.psi:g} is the best trade: {reasons}.")


def _is_close(row: Truncation, lowest: Truncation, errors: Errors) -> bool:
    """Whether a distance cannot be told from the lowest one"""
    value, least = distance_of(row.metrics).value, distance_of(lowest.metrics).value
    error = errors.get(frozenset((row.psi, lowest.psi)))
    slack = MARGIN * abs(least) if error is None else NOISE_ERRORS * error
    return row is lowest or value - least <= slack


def _is_balanced(row: Truncation, most: Truncation, errors: Errors) -> bool:
    """Whether a balance cannot be told from the best one; none is one without precision or recall"""
    error = errors.get(frozenset((row.psi, most.psi)), 0.0)
    value = balance(row.metrics)
    return row is most or (balance(most.metrics) - value <= NOISE_ERRORS * error and value > 0)


def balance(metrics: Sequence[Metric]) -> float:
    """Harmonic mean of precision and recall (their F1); 0 where one of them is 0 or was not measured"""
    precision, recall = find(metrics, "precision"), find(metrics, "recall")
    if precision is None or recall is None or not (precision.value and recall.value):
        return 0.0
    return 2 * precision.value * recall.value / (precision.value + recall.value)


def best_of_columns(rows: Sequence[Truncation]) -> dict[str, float]:
    """For each metric the psi at which it is best; of equals the higher psi

    Of path lengths none is: they tend to fall with psi, whatever the generator.
    """
    best = {}
    for name, metric in by_name(each for row in rows for each in row.metrics).items():
        sign = -1 if metric.lower_is_better else 1
        column = [(sign * each.value, row.psi) for row in rows for each in row.metrics if each.name == name]
        column = [cell for cell in column if math.isfinite(cell[0])]
        if column and metric.kind != "ppl":
            best[name] = max(column)[1]
    return best


def table(rows: Sequence[Truncation], chosen: float) -> str:
    """The frontier for a terminal, by rising psi: the best of each column and the recommended psi are marked"""
    best = best_of_columns(rows)
    found = by_name(metric for row in rows for metric in row.metrics)
    names = [name for name, metric in found.items() if metric.kind in COLUMNS]
    lines = [["psi", *names]]
    for row in sorted(rows, key=lambda row: row.psi):
        mark, metrics = " <" if row.psi == chosen else "  ", by_name(row.metrics)
        lines.append([f"{row.psi:g}{mark}", *(_cell(metrics.get(name), best.get(name) == row.psi) for name in names)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (_GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join([*(line.rstrip() for line in aligned), "* best of its column, < recommended"])


def _cell(metric: Metric | None, is_best: bool) -> str:
    if metric is None:
        return "-"  # could not be measured at this psi
    interval = metric.interval if metric.kind == "kid" else None
    bounds = "" if interval is None else f" [{short(interval.low, 3)}, {short(interval.high, 3)}]"
    return f"{short(metric.value, 4)}{bounds}{' *' if is_best else ''}"


def _why_close(best: Truncation, lowest: Truncation, candidates: Sequence[Truncation], noise: Noise) -> str:
    distance, least = distance_of(best.metrics), distance_of(lowest.metrics)
    own, known = f"its {distance.label} {short(distance.value, 3)}", bool(noise.distance)
    if best is not lowest:
        relation = "statistically indistinguishable from" if known else f"within {MARGIN:.0%} of"
        return f"{own} is {relation} the lowest ({short(least.value, 3)} at psi {lowest.psi:g})"
    if len(candidates) == 1:
        return f"{own} is the lowest, and no other psi comes within {'the noise' if known else f'{MARGIN:.0%}'} of it"
    return f"{own} is the lowest"


def _why_balanced(best: Truncation, most: Truncation, candidates: Sequence[Truncation]) -> str:
    """The second half of the sentence; empty where the distance alone decides"""
    if len(candidates) == 1:
        return ""
    precision, recall = find(best.metrics, "precision"), find(best.metrics, "recall")
    psis = ", ".join(f"{psi:g}" for psi in sorted(row.psi for row in candidates))
    those = f"the psi values that the distance does not separate ({psis})"
    if precision is None or recall is None:
        return f", and of {those} the highest has the most variety; precision and recall were not both measured"
    if balance(most.metrics) == 0:
        return f", and of {those} the highest has the most variety; precision or recall is 0 at each"
    balanced = f"precision {precision.value:.2g} with recall {recall.value:.2g}"
    if best is most:
        return f", and {balanced} are the best balance among {those}"
    return (
        f", and of {those} it is the highest whose balance ({balanced}) is statistically indistinguishable from the "
        f"best, at psi {most.psi:g}"
    )
