"""What a ladder found, as files in reports/ablate/<ladder>/:

    table.md, index.html   measured rows, the best bold, and below them, apart, what was published
    table.csv              the measured rows with all their numbers; a row that failed has none
    published.csv          the published figures
    metrics.png            every metric with its interval; for chart: sizes, against the number of training images
    peaks.png, peaks.csv   of ladders with peaks: those of feature maps by resolution (stylegan/analysis/peaks.py)

The best row has the lowest distance (KID, without it FID). A delta is the difference in that distance from the row that
stands under "against", which differs in what the ladder asks about; it means nothing where the intervals overlap. Peaks
are those of the highest resolution that all rows have, for larger maps have higher ones.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.ablate import figures, ladder_page
from pipelines.artifacts.metric_names import DISTANCES, distance_of, kind_of, short
from pipelines.artifacts.ticks import TickRow
from pipelines.ladders.ladder import FIGURES, Figures, Ladder, Rung
from stylegan.files import write_bytes, write_csv

SHOWN = (*DISTANCES, "precision", "recall", "ppl")  # metrics of the table for readers, in this order


@dataclass(frozen=True)
class Standing:
    """What became of a row of a ladder."""

    rung: Rung
    run: str = ""  # its fingerprint
    content: Mapping[str, Any] | None = None  # of metrics.json, where it was measured
    ticks: Sequence[TickRow] = ()
    counts: tuple[int, int] | None = None  # parameters of G and D
    num_images: int | None = None  # trained on
    mode: str = ""  # of augmentation
    peaks: Mapping[int, Mapping[str, float]] = field(default_factory=dict)  # by resolution
    problem: str | None = None  # what a failed row said


Cells = dict[str, Any]  # a row of a table by column


def measured_rows(found: Sequence[Standing], ladder: Ladder) -> list[Cells]:
    """The table of what was measured, and of nothing else: a row that failed has no numbers"""
    metrics = {each.rung.name: each.content["metrics"] for each in found if each.content}
    levels = [set(each.peaks) for each in found if each.peaks]
    common = set.intersection(*levels) if levels else set()
    rows = []
    for each in found:
        cells = _numbers(each, ladder.compared_with(each.rung), metrics)
        if each.peaks and common:
            peaks = each.peaks[max(common)]
            cells |= {"peak_resolution": max(common)}
            cells |= {f"peak_{name}": float(f"{peaks[name]:.4g}") for name in ("median", "p99_9")}
        rows.append(cells)
    return rows


def _numbers(each: Standing, before: Rung | None, metrics: Mapping[str, Mapping[str, float]]) -> Cells:
    first = {"row": each.rung.name, "label": each.rung.label}
    if each.content is None:
        return first | {"problem": each.problem}
    own, intervals = each.content["metrics"], each.content["intervals"]
    order = sorted(own, key=lambda name: SHOWN.index(kind_of(name)) if kind_of(name) in SHOWN else len(SHOWN))
    cells: Cells = dict(first)
    for name in order:
        cells[name] = own[name]
        for end, bound in zip(("low", "high"), intervals.get(name, ()), strict=False):
            cells[f"{name}_{end}"] = bound
    distance = distance_of(own)
    if before is not None and before.name in metrics:
        delta = own[distance] - metrics[before.name][distance]
        cells |= {"delta": float(f"{delta:.4g}"), "against": before.name} if math.isfinite(delta) else {}
    return cells | {"snapshot_kimg": each.content["cur_nimg"] / 1000} | _costs(each) | {"run": each.run}


def _costs(each: Standing) -> Cells:
    G, D = each.counts or (None, None)
    cells: Cells = {"num_images": each.num_images, "G_parameters": G, "D_parameters": D}
    if each.ticks:
        cells["kimg"] = each.ticks[-1].kimg
        cells["workers"] = max(row.ranks.count or 1 for row in each.ticks)
        # A resumed run has slow ticks at each beginning.
        speeds = [row.sec_per_kimg for row in each.ticks if row.sec_per_kimg is not None]
        memory = [row.ranks.memory_gb_max or row.memory_gb or 0.0 for row in each.ticks]
        cells["sec_per_kimg"] = float(f"{statistics.median(speeds):.4g}")
        cells["memory_gb"] = float(f"{max(memory):.4g}")
    return cells


def best_of(rows: Sequence[Cells]) -> str | None:
    """Name of the row with the lowest distance, if any was measured"""
    distances = {row["row"]: row[distance_of(row)] for row in rows if "run" in row}
    finite = {name: distance for name, distance in distances.items() if math.isfinite(distance)}
    return min(finite, key=lambda name: finite[name]) if finite else None


def published_rows(ladder: Ladder) -> list[Cells]:
    """Figures of papers: the rows of the ladder that have some, then what is no row of it"""
    rows = [
        _quoted(rung.name, rung.label, data, figures)
        for rung in ladder.rows
        for data, figures in rung.published.items()
    ]
    return rows + [_quoted("", quoted.label, quoted.data, quoted.figures) for quoted in ladder.published]


def _quoted(name: str, label: str, data: str, figures: Figures) -> Cells:
    values = {figure: getattr(figures, figure) for figure in FIGURES}
    return {"row": name, "label": label, "data": data, **values, "from_memory": " ".join(figures.from_memory)}


def write(found: Sequence[Standing], ladder: Ladder, folder: Path) -> None:
    """Write everything into `folder`, and remove what an earlier table left there."""
    rows, quoted = measured_rows(found, ladder), published_rows(ladder)
    write_csv(folder / "table.csv", rows)
    if quoted:
        write_csv(folder / "published.csv", quoted)
    write_bytes(folder / "table.md", markdown(rows, quoted, ladder).encode())
    charts: dict[str, list[bytes]] = {}
    if (best := best_of(rows)) is not None:
        draw = figures.against_size if ladder.chart == "sizes" else figures.bars
        modes = {each.rung.name: each.mode for each in found}
        measured = [row | {"mode": modes[row["row"]]} for row in rows if "run" in row]
        charts["metrics"] = [draw(measured, shown_metrics(rows), dark=dark) for dark in (False, True)]
    if peaks := {each.rung.name: each.peaks for each in found if each.peaks}:
        levels = [(name, res, values) for name, own in peaks.items() for res, values in own.items()]
        write_csv(folder / "peaks.csv", [{"row": name, "resolution": res, **values} for name, res, values in levels])
        charts["peaks"] = [figures.peaks(peaks, dark=dark) for dark in (False, True)]
    for name, (light, _) in charts.items():
        write_bytes(folder / f"{name}.png", light)
    for name in {"metrics", "peaks"} - charts.keys():
        (folder / f"{name}.png").unlink(missing_ok=True)
    if not peaks:
        (folder / "peaks.csv").unlink(missing_ok=True)
    page = ladder_page.build(ladder, table(rows, best), published_table(quoted), problems(rows, ladder), charts)
    write_bytes(folder / "index.html", page.encode())


def shown_metrics(rows: Sequence[Cells]) -> list[str]:
    """Names of the metrics that readers are shown, in the order of the table"""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [name for name in names if kind_of(name) in SHOWN and not name.endswith(("_low", "_high"))]


def problems(rows: Sequence[Cells], ladder: Ladder) -> list[str]:
    """A line for each row that failed, and one for those not run"""
    failed = [f"{row['row']} ({row['label']}) failed: {row['problem']}" for row in rows if "run" not in row]
    missing = [name for name in ladder.by_name if name not in {row["row"] for row in rows}]
    return [*failed, *([f"not run: {', '.join(missing)}"] if missing else [])]


COSTS = {
    "delta": "delta", "against": "against", "snapshot_kimg": "kimg", "sec_per_kimg": "s/kimg", "workers": "workers",
    "G_parameters": "parameters of G", "D_parameters": "parameters of D", "memory_gb": "memory, GB",
    "peak_resolution": "peaks at", "peak_median": "peak, median", "peak_p99_9": "peak, 99.9 %",
}  # fmt: skip
Table = tuple[list[str], list[tuple[bool, list[str]]]]  # heads; for each row whether it is the best, and its cells


def table(rows: Sequence[Cells], best: str | None) -> Table:
    """What readers are shown of the measured rows, as text; an interval stands behind its value"""
    metrics = shown_metrics(rows)
    costs = [name for name in COSTS if any(name in row for row in rows)]
    found = []
    for row in rows:
        cells = [row["row"], row["label"], *(_with_interval(row, name) for name in metrics)]
        found.append((row["row"] == best, cells + [_text(row.get(name)) for name in costs]))
    return ["row", "", *metrics, *(COSTS[name] for name in costs)], found


def _with_interval(row: Cells, name: str) -> str:
    value = _text(row.get(name))
    if f"{name}_low" not in row:
        return value
    return f"{value} [{_text(row[f'{name}_low'])}, {_text(row[f'{name}_high'])}]"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return short(value, 3) if isinstance(value, float) else str(value)


def markdown(rows: Sequence[Cells], quoted: Sequence[Cells], ladder: Ladder) -> str:
    """The tables for readers"""
    heads, body = table(rows, best_of(rows))
    lines = [f"# {ladder.title}", "", ladder.question, ""]
    lines += ["## Measured here", "", *_piped(heads, [[f"**{cell}**" if is_best and cell else cell for cell in cells]
                                                     for is_best, cells in body])]  # fmt: skip
    lines += ["", *(f"- {line}" for line in problems(rows, ladder))] if problems(rows, ladder) else []
    lines += ["", *(f"- {note}" for note in ladder.notes)] if ladder.notes else []
    if quoted:
        lines += ["", f"## Published ({ladder.source})", "", "Not measured here, on other images, at other sizes."]
        lines += ["", *_piped(*published_table(quoted))]
    return "\n".join(lines) + "\n"


def published_table(quoted: Sequence[Cells]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the published figures; those not looked up say so"""
    names = [name for name in FIGURES if any(row[name] is not None for row in quoted)]
    heads = {"fid": "FID", "ppl": "PPL"}
    return ["row", "", "data", *(heads.get(name, name) for name in names)], [
        [row["row"], row["label"], row["data"], *(_remembered(row, name) for name in names)] for row in quoted
    ]


def _remembered(row: Cells, name: str) -> str:
    if row[name] is None:
        return ""
    return f"{row[name]:g}" + (" (from memory)" if name in row["from_memory"].split() else "")


def _piped(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in [heads, *rows]]
    lines = ["| " + " | ".join(row) + " |" for row in escaped]
    return [lines[0], "|" + "---|" * len(heads), *lines[1:]]
