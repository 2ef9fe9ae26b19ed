"""What a ladder found, as files in reports/ablate/<ladder>/:

    table.md, index.html   measured rows, the best bold, and below them, apart, what was published
    table.csv              the measured rows with all their numbers; a row that failed has none
    published.csv          the published figures
    results.json           the measured rows, for programs (artifacts/ladder_json.py)
    metrics.png            every metric with its interval; for chart: sizes, against the number of training images
    peaks.png, peaks.csv   of ladders with peaks: those of feature maps by resolution (stylegan/analysis/peaks.py)

What the rows took, which depends on the machine, is in runs/ladder-<ladder>-<hash>/costs.csv, and in MLflow.

The best row has the lowest distance (KID, without it FID). A delta is the difference in that distance from the row that
stands under "against", which differs in what the ladder asks about; it means nothing where the intervals overlap. Peaks
are those of the highest resolution that all rows have, for larger maps have higher ones.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.ablate import figures, ladder_page
from pipelines.artifacts import ladder_json
from pipelines.artifacts.ladder_json import LadderRow, Quantiles
from pipelines.artifacts.metrics_json import MetricsReport
from pipelines.artifacts.ticks import TickRow
from pipelines.drawing.markdown import table_lines
from pipelines.ladders.ladder import FIGURES, Figures, Ladder, Row
from stylegan.files import write_bytes, write_csv
from stylegan.metrics.evaluation.metric import DISTANCES, Kind, Metric, by_name, distance_of, short

SHOWN: tuple[Kind, ...] = (*DISTANCES, "precision", "recall", "ppl")  # metrics of the table for readers, in this order


@dataclass(frozen=True)
class Standing:
    """What became of a row of a ladder."""

    row: Row
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
    reports = {each.row.name: each.report for each in found if each.report}
    levels = [set(each.peaks) for each in found if each.peaks]
    common = max(set.intersection(*levels), default=None) if levels else None
    rows = []
    for each in found:
        before = ladder.compared_with(each.row)
        row = _measured(each, None if before is None else before.name, reports)
        if each.peaks and common is not None:
            at = each.peaks[common]
            found_peaks = {"peak_median": _rounded(at.median), "peak_p99_9": _rounded(at.p99_9)}
            row = row.model_copy(update={"peaks": each.peaks, "peak_resolution": common, **found_peaks})
        rows.append(row)
    return rows


def _measured(each: Standing, before: str | None, reports: Mapping[str, MetricsReport]) -> LadderRow:
    row = LadderRow(row=each.row.name, label=each.row.label)
    if each.report is None:
        return row.model_copy(update={"problem": each.problem})
    order = [*SHOWN, *(metric.kind for metric in each.report.metrics if metric.kind not in SHOWN)]
    metrics = tuple(sorted(each.report.metrics, key=lambda metric: order.index(metric.kind)))
    update: Cells = {"run": each.run, "metrics": metrics, "mode": each.mode}
    if before is not None and before in reports:
        delta = distance_of(metrics).value - distance_of(reports[before].metrics).value
        update |= {"delta": _rounded(delta), "against": before} if math.isfinite(delta) else {}
    update["snapshot_kimg"] = (each.report.cur_nimg or 0) / 1000
    return row.model_copy(update=update | _size(each))


def _size(each: Standing) -> Cells:
    G, D = each.counts or (None, None)
    found: Cells = {"num_images": each.num_images, "G_parameters": G, "D_parameters": D}
    if each.ticks:
        found["kimg"] = each.ticks[-1].kimg
    return found


def costs(each: Standing) -> Cells:
    """What training took on the machine at hand; empty for a row that was not trained"""
    if not each.ticks:
        return {}
    # A resumed run has slow ticks at each beginning.
    speeds = [row.sec_per_kimg for row in each.ticks if row.sec_per_kimg is not None]
    return {
        "row": each.row.name,
        "workers": max(row.ranks.count or 1 for row in each.ticks),
        "sec_per_kimg": _rounded(statistics.median(speeds)),
        "memory_gb": _rounded(max(row.ranks.memory_gb_max or row.memory_gb or 0.0 for row in each.ticks)),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


COLUMNS = (  # of the table behind the metrics
    "delta", "against", "snapshot_kimg", "num_images", "G_parameters", "D_parameters", "kimg", "run",
    "peak_resolution", "peak_median", "peak_p99_9",
)  # fmt: skip


def cells_of(row: LadderRow) -> Cells:
    """A row of table.csv: each metric and the bounds of its interval, then what was trained"""
    cells: Cells = {"row": row.row, "label": row.label}
    if not row.is_measured:
        return cells | {"problem": row.problem}
    for metric in row.metrics:
        cells[metric.name] = metric.value
        if metric.interval is not None:
            cells |= {f"{metric.name}_low": metric.interval.low, f"{metric.name}_high": metric.interval.high}
    values = {name: getattr(row, name) for name in COLUMNS}
    return cells | {name: value for name, value in values.items() if value is not None}


def best_of(rows: Sequence[LadderRow]) -> str | None:
    """Name of the row with the lowest distance, if any was measured"""
    distances = {row.row: distance_of(row.metrics).value for row in rows if row.is_measured}
    finite = {name: distance for name, distance in distances.items() if math.isfinite(distance)}
    return min(finite, key=lambda name: finite[name]) if finite else None


@dataclass(frozen=True)
class QuotedRow:
    """What a paper reports, of a row of the ladder or of something else."""

    row: str  # empty where it is of none
    label: str
    data: str
    figures: Figures

    @property
    def cells(self) -> Cells:
        """By column"""
        values = {figure: getattr(self.figures, figure) for figure in FIGURES}
        first = {"row": self.row, "label": self.label, "data": self.data}
        return {**first, **values, "from_memory": " ".join(self.figures.from_memory)}


def published_rows(ladder: Ladder) -> list[QuotedRow]:
    """Figures of papers: the rows of the ladder that have some, then what is no row of it"""
    rows = [
        QuotedRow(row.name, row.label, data, figures) for row in ladder.rows for data, figures in row.published.items()
    ]
    return rows + [QuotedRow("", quoted.label, quoted.data, quoted.figures) for quoted in ladder.published]


def write(found: Sequence[Standing], ladder: Ladder, folder: Path) -> None:
    """Write everything into `folder`, and remove what an earlier table left there."""
    rows, quoted = measured_rows(found, ladder), published_rows(ladder)
    best = best_of(rows)
    write_csv(folder / "table.csv", [cells_of(row) for row in rows])
    ladder_json.write(folder, ladder.name, rows, best)
    if quoted:
        write_csv(folder / "published.csv", [each.cells for each in quoted])
    write_bytes(folder / "table.md", markdown(rows, quoted, ladder).encode())
    charts: dict[str, list[bytes]] = {}
    if best is not None:
        draw = figures.against_size if ladder.chart == "sizes" else figures.bars
        measured = [row for row in rows if row.is_measured]
        charts["metrics"] = [draw(measured, shown_metrics(rows), dark=dark) for dark in (False, True)]
    if peaks := {each.row.name: each.peaks for each in found if each.peaks}:
        levels = [
            {"row": name, "resolution": res, **at.model_dump()}
            for name, own in peaks.items()
            for res, at in own.items()
        ]
        write_csv(folder / "peaks.csv", levels)
        charts["peaks"] = [figures.peaks(peaks, dark=dark) for dark in (False, True)]
    for name, (light, _) in charts.items():
        write_bytes(folder / f"{name}.png", light)
    for name in {"metrics", "peaks"} - charts.keys():
        (folder / f"{name}.png").unlink(missing_ok=True)
    if not peaks:
        (folder / "peaks.csv").unlink(missing_ok=True)
    page = ladder_page.build(ladder, table(rows, best), published_table(quoted), problems(rows, ladder), charts)
    write_bytes(folder / "index.html", page.encode())


def shown_metrics(rows: Sequence[LadderRow]) -> list[Metric]:
    """The metrics that readers are shown, in the order of the table, each of the last row that has it"""
    return [metric for metric in by_name(each for row in rows for each in row.metrics).values() if metric.kind in SHOWN]


def problems(rows: Sequence[LadderRow], ladder: Ladder) -> list[str]:
    """A line for each row that failed, and one for those not run"""
    failed = [f"{row.row} ({row.label}) failed: {row.problem}" for row in rows if not row.is_measured]
    missing = [name for name in ladder.by_name if name not in {row.row for row in rows}]
    return [*failed, *([f"not run: {', '.join(missing)}"] if missing else [])]


FACTS = {
    "delta": "delta", "against": "against", "snapshot_kimg": "kimg",
    "G_parameters": "parameters of G", "D_parameters": "parameters of D",
    "peak_resolution": "peaks at", "peak_median": "peak, median", "peak_p99_9": "peak, 99.9 %",
}  # fmt: skip
Table = tuple[list[str], list[tuple[bool, list[str]]]]  # heads; for each row whether it is the best, and its cells


def table(rows: Sequence[LadderRow], best: str | None) -> Table:
    """What readers are shown of the measured rows, as text; an interval stands behind its value"""
    metrics = shown_metrics(rows)
    facts = [name for name in FACTS if any(name in cells_of(row) for row in rows)]
    found = []
    for row in rows:
        measured = by_name(row.metrics)
        cells = [row.row, row.label, *(_with_interval(measured.get(metric.name)) for metric in metrics)]
        found.append((row.row == best, cells + [_text(getattr(row, name)) for name in facts]))
    return ["row", "", *(metric.name for metric in metrics), *(FACTS[name] for name in facts)], found


def _with_interval(metric: Metric | None) -> str:
    if metric is None or metric.interval is None:
        return _text(None if metric is None else metric.value)
    return f"{_text(metric.value)} [{_text(metric.interval.low)}, {_text(metric.interval.high)}]"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return short(value, 3) if isinstance(value, float) else str(value)


def markdown(rows: Sequence[LadderRow], quoted: Sequence[QuotedRow], ladder: Ladder) -> str:
    """The tables for readers"""
    heads, body = table(rows, best_of(rows))
    lines = [f"# {ladder.title}", "", ladder.question, ""]
    lines += ["## Measured here", "", *table_lines(heads, body)]
    lines += ["", *(f"- {line}" for line in problems(rows, ladder))] if problems(rows, ladder) else []
    lines += ["", *(f"- {note}" for note in ladder.notes)] if ladder.notes else []
    if quoted:
        lines += ["", f"## Published ({ladder.source})", "", "Not measured here, on other images, at other sizes."]
        heads, cells = published_table(quoted)
        lines += ["", *table_lines(heads, [(False, row) for row in cells])]
    return "\n".join(lines) + "\n"


def published_table(quoted: Sequence[QuotedRow]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the published figures; those not looked up say so"""
    names = [name for name in FIGURES if any(getattr(row.figures, name) is not None for row in quoted)]
    heads = {"fid": "FID", "ppl": "PPL"}
    return ["row", "", "data", *(heads.get(name, name) for name in names)], [
        [row.row, row.label, row.data, *(_remembered(row.figures, name) for name in names)] for row in quoted
    ]


def _remembered(figures: Figures, name: str) -> str:
    value = getattr(figures, name)
    return "" if value is None else f"{value:g}" + (" (from memory)" if name in figures.from_memory else "")
