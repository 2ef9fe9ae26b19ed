"""The truncation frontier: fidelity against variety over psi, and which psi to show.

The rule, pure and printed with its result: candidates are the psi whose KID (without KID, FID) cannot be told from the
lowest one, and among them the one with the best balance of precision and recall is recommended.
"""

from collections.abc import Sequence

from pipelines.artifacts.metrics_json import Recommended, Truncation
from pipelines.diagnosis.thresholds import MARGIN
from stylegan.metrics.evaluation.metric import Kind, Metric, by_name, distance_of, find, short

COLUMNS: tuple[Kind, ...] = ("kid", "fid", "frechet", "precision", "recall", "ppl")  # of the table for terminals
_GAP = "  "


def recommend(rows: Sequence[Truncation]) -> Recommended:
    """The psi of the sweep that trades best.

    Candidates are at or below the upper bound of the lowest distance's confidence interval, or without an interval
    within MARGIN of it. The highest harmonic mean of precision and recall wins, and of equals the higher psi, which
    has more variety.
    Raises ValueError for a sweep without rows or without a distance.
    """
    if not rows:
        raise ValueError("the truncation sweep has no rows. evaluate.truncation_psi needs at least psi = 1.")
    lowest = min(rows, key=lambda row: (distance_of(row.metrics).value, -row.psi))
    limit = _limit(distance_of(lowest.metrics))
    candidates = [row for row in rows if distance_of(row.metrics).value <= limit]
    best = max(candidates, key=lambda row: (balance(row.metrics), row.psi))
    if len(rows) == 1:
        distance = distance_of(best.metrics)
        return Recommended(
            psi=best.psi,
            sentence=f"Only psi {best.psi:g} was measured ({distance.label} {short(distance.value, 3)}); add more to "
            "evaluate.truncation_psi to see the trade.",
        )
    reasons = f"{_why_close(best, lowest, candidates)}{_why_balanced(best.metrics, candidates)}"
    return Recommended(psi=best.psi, sentence=f"psi {best.psi:g} is the best trade: {reasons}.")


def balance(metrics: Sequence[Metric]) -> float:
    """Harmonic mean of precision and recall (their F1); 0 where one of them is 0 or was not measured"""
    precision, recall = find(metrics, "precision"), find(metrics, "recall")
    if precision is None or recall is None or not (precision.value and recall.value):
        return 0.0
    return 2 * precision.value * recall.value / (precision.value + recall.value)


def best_of_columns(rows: Sequence[Truncation]) -> dict[str, float]:
    """For each metric the psi at which it is best; of equals the higher psi"""
    table = [(row.psi, by_name(row.metrics)) for row in rows]
    best = {}
    for metric in rows[0].metrics:
        sign = -1 if metric.lower_is_better else 1
        best[metric.name] = max((sign * metrics[metric.name].value, psi) for psi, metrics in table)[1]
    return best


def table(rows: Sequence[Truncation]) -> str:
    """The frontier for a terminal, by rising psi: the best of each column and the recommended psi are marked"""
    best, chosen = best_of_columns(rows), recommend(rows).psi
    names = [metric.name for metric in rows[0].metrics if metric.kind in COLUMNS]
    lines = [["psi", *names]]
    for row in sorted(rows, key=lambda row: row.psi):
        mark, metrics = " <" if row.psi == chosen else "  ", by_name(row.metrics)
        lines.append([f"{row.psi:g}{mark}", *(_cell(metrics[name], best[name] == row.psi) for name in names)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = (_GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
    return "\n".join([*(line.rstrip() for line in aligned), "* best of its column, < recommended"])


def _cell(metric: Metric, is_best: bool) -> str:
    interval = metric.interval if metric.kind == "kid" else None
    bounds = "" if interval is None else f" [{short(interval.low, 3)}, {short(interval.high, 3)}]"
    return f"{short(metric.value, 4)}{bounds}{' *' if is_best else ''}"


def _limit(lowest: Metric) -> float:
    """The highest distance that counts as equal to the lowest"""
    value, interval = lowest.value, lowest.interval
    # An interval is of the whole sets and the value a mean over subsets, so the value may lie outside.
    return value + MARGIN * abs(value) if interval is None else max(value, interval.high)


def _why_close(best: Truncation, lowest: Truncation, candidates: Sequence[Truncation]) -> str:
    distance, least = distance_of(best.metrics), distance_of(lowest.metrics)
    has_interval, own = least.interval is not None, f"its {distance.label} {short(distance.value, 3)}"
    if best is not lowest:
        relation = "cannot be told from the lowest" if has_interval else f"is within {MARGIN:.0%} of the lowest"
        return f"{own} {relation} ({short(least.value, 3)} at psi {lowest.psi:g})"
    if len(candidates) == 1:
        bound = "its confidence interval" if has_interval else f"{MARGIN:.0%} of it"
        return f"{own} is the lowest, and no other psi comes within {bound}"
    return f"{own} is the lowest"


def _why_balanced(best: Sequence[Metric], candidates: Sequence[Truncation]) -> str:
    """The second half of the sentence; empty where the distance alone decides"""
    precision, recall = find(best, "precision"), find(best, "recall")
    if len(candidates) == 1:
        return ""
    those = f"the {len(candidates)} psi that the distance cannot tell apart"
    if precision is None or recall is None:
        return f", and of {those} the highest has the most variety; precision and recall were not both measured"
    if balance(best) == 0:
        return f", and of {those} the highest has the most variety; precision or recall is 0 at each"
    return f", and precision {precision.value:.2g} with recall {recall.value:.2g} are the best balance among {those}"
