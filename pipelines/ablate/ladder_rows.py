"""The rows of a ladder as numbers: means over the seeds of a row, and its difference from another row."""

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.artifacts.ladder_json import LadderRow, Quantiles, SeedRun
from pipelines.artifacts.metrics_json import Metrics, MetricsReport
from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis.between_runs import difference, level_for, over_runs, verdict_of
from pipelines.ladders.ladder import Ladder, Row
from stylegan.metrics.evaluation.metric import DISTANCES, Bounds, Kind, distance_of

SHOWN: tuple[Kind, ...] = (*DISTANCES, "precision", "recall", "ppl")  # metrics of the table for readers, in this order


@dataclass(frozen=True)
class Standing:
    """What became of a row of a ladder with one seed."""

    row: Row
    seed: int
    run: str = ""  # its fingerprint
    report: MetricsReport | None = None  # where it was measured
    ticks: Sequence[TickRow] = ()
    counts: tuple[int, int] | None = None  # parameters of G and D
    num_images: int | None = None  # trained on
    mode: str = ""  # of augmentation
    peaks: Mapping[int, Quantiles] = field(default_factory=dict)  # by resolution
    problem: str | None = None  # what a failed row said


Cells = dict[str, object]  # a row of a table by column


def measured_rows(found: Sequence[Standing], ladder: Ladder) -> list[LadderRow]:
    """The table of what was measured, and of nothing else: a row that failed has no numbers"""
    by_row: dict[str, list[Standing]] = {}
    for each in found:
        by_row.setdefault(each.row.name, []).append(each)
    levels = [set(each.peaks) for each in found if each.peaks]
    common = max(set.intersection(*levels), default=None) if levels else None
    rows = [_measured(runs) for runs in by_row.values()]
    return [_with_peaks(_against(row, rows, ladder), by_row[row.row], common) for row in rows]


def _measured(found: Sequence[Standing]) -> LadderRow:
    """One row, from what became of it with each seed"""
    row, problems = found[0].row, [each for each in found if each.problem is not None]
    seed = f"seed {problems[0].seed}: " if problems and len(found) > 1 else ""
    problem = f"{seed}{problems[0].problem}" if problems else None
    measured = [(each, each.report) for each in found if each.report is not None]
    if not measured:
        return LadderRow(row=row.name, label=row.label, problem=problem)
    runs = tuple(
        SeedRun(
            seed=each.seed, run=each.run, metrics=_ordered(report.metrics),
            snapshot_kimg=(report.cur_nimg or 0) / 1000, kimg=each.ticks[-1].kimg if each.ticks else None,
        )
        for each, report in measured
    )  # fmt: skip
    first, report = measured[0]
    G, D = first.counts or (None, None)
    return LadderRow(
        row=row.name, label=row.label, problem=problem, runs=runs, metrics=over_runs([run.metrics for run in runs]),
        num_gen=report.num_images, num_real=report.num_real, mode=first.mode, num_images=first.num_images,
        G_parameters=G, D_parameters=D,
    )  # fmt: skip


def _ordered(metrics: Metrics) -> Metrics:
    order = [*SHOWN, *(metric.kind for metric in metrics if metric.kind not in SHOWN)]
    return tuple(sorted(metrics, key=lambda metric: order.index(metric.kind)))


def _against(row: LadderRow, rows: Sequence[LadderRow], ladder: Ladder) -> LadderRow:
    """The row with its difference from the one that it is compared with, where both were measured"""
    before = ladder.compared_with(ladder.row(row.row))
    other = next((each for each in rows if before is not None and each.row == before.name), None)
    if other is None or not (row.is_measured and other.is_measured):
        return row
    num_claims = sum(ladder.compared_with(each) is not None for each in ladder.rows)
    found = difference(_distances(row), _distances(other), level_for(num_claims))
    if not math.isfinite(found.value):
        return row
    interval = None if found.interval is None else Bounds(*map(_rounded, found.interval))
    update = {"delta": _rounded(found.value), "delta_interval": interval, "against": other.row}
    return row.model_copy(update=update | {"verdict": verdict_of(found)})


def _distances(row: LadderRow) -> list[float]:
    """Of each run"""
    return [distance_of(run.metrics).value for run in row.runs]


def _with_peaks(row: LadderRow, found: Sequence[Standing], common: int | None) -> LadderRow:
    peaks = next((each.peaks for each in found if each.peaks), None)
    if peaks is None or common is None:
        return row
    shown = {"peak_median": _rounded(peaks[common].median), "peak_p99_9": _rounded(peaks[common].p99_9)}
    return row.model_copy(update={"peaks": peaks, "peak_resolution": common, **shown})


def series(found: Sequence[Standing], ladder: Ladder) -> dict[str, float]:
    """Mean, standard deviation and number of runs of every row, as MLflow names them"""
    numbers: dict[str, float] = {}
    for row in measured_rows(found, ladder):
        name = re.sub(r"[^\w.-]", "_", row.row)
        for metric in row.metrics:
            numbers[f"{name}/{metric.name}"] = metric.value
            numbers |= {} if metric.sd is None else {f"{name}/{metric.name}_sd": metric.sd}
        numbers |= {f"{name}/seeds": len(row.runs)} if row.is_measured else {}
    return numbers


def costs(each: Standing) -> Cells:
    """What training took on the machine at hand; empty for a row that was not trained"""
    if not each.ticks:
        return {}
    # A resumed run has slow ticks at each beginning.
    speeds = [row.sec_per_kimg for row in each.ticks if row.sec_per_kimg is not None]
    return {
        "row": each.row.name,
        "seed": each.seed,
        "workers": max(row.ranks.count or 1 for row in each.ticks),
        "sec_per_kimg": _rounded(statistics.median(speeds)),
        "memory_gb": _rounded(max(row.ranks.memory_gb_max or row.memory_gb or 0.0 for row in each.ticks)),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


COLUMNS = (  # of the table behind the metrics
    "delta", "against", "verdict", "num_gen", "num_real", "num_images", "G_parameters", "D_parameters",
    "peak_resolution", "peak_median", "peak_p99_9",
)  # fmt: skip


def cells_of(row: LadderRow) -> Cells:
    """A row of table.csv: each metric with its bounds or deviation, then what was trained"""
    cells: Cells = {"row": row.row, "label": row.label, "seeds": len(row.runs)}
    for metric in row.metrics:
        cells[metric.name] = metric.value
        cells |= {} if metric.sd is None else {f"{metric.name}_sd": metric.sd}
        if metric.interval is not None:
            cells |= {f"{metric.name}_low": metric.interval.low, f"{metric.name}_high": metric.interval.high}
    cells |= {name: value for name in COLUMNS if (value := getattr(row, name)) is not None}
    if row.delta_interval is not None:
        cells |= {"delta_low": row.delta_interval.low, "delta_high": row.delta_interval.high}
    for name in ("snapshot_kimg", "kimg", "run"):
        values = [value for run in row.runs if (value := getattr(run, name)) is not None]
        cells |= {name: values[0] if len(set(values)) == 1 else " ".join(map(str, values))} if values else {}
    return cells if row.problem is None else cells | {"problem": row.problem}


def lowest_of(rows: Sequence[LadderRow]) -> str | None:
    """Name of the row with the lowest mean distance, if any was measured"""
    distances = {row.row: distance_of(row.metrics).value for row in rows if row.is_measured}
    finite = {name: distance for name, distance in distances.items() if math.isfinite(distance)}
    return min(finite, key=lambda name: finite[name]) if finite else None
