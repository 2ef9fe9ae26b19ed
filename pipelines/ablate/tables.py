"""What a ladder found, as files in reports/ablate/<ladder>/:

    table.md, index.html   measured rows, and below them, apart, what was published
    table.csv              the measured rows with all their numbers; a row that failed has none
    published.csv          the published figures
    results.json           the measured rows, for programs (artifacts/ladder_json.py)
    metrics.png            every metric with its interval; for chart: sizes, against the number of training images
    peaks.png, peaks.csv   of ladders with peaks: those of feature maps by resolution (stylegan/analysis/peaks.py)

What the rows took, which depends on the machine, is in runs/ladder-<ladder>-<hash>/costs.csv, and in MLflow.

Numbers are means over the runs of a row, one per seed, with the standard deviation of one run. A delta is the
difference in the distance (KID, without it FID) from the row under "against", which differs in what the ladder asks
about. It is claimed, in words and bold, only where it exceeds the spread between runs (diagnosis/between_runs.py); of
one run per row nothing is. Peaks are those of the first seed at the highest resolution that all rows have, for larger
maps have higher ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.ablate import figures, ladder_page
from pipelines.ablate.ladder_rows import SHOWN, Cells, Standing, cells_of, lowest_of, measured_rows
from pipelines.artifacts import ladder_json
from pipelines.artifacts.ladder_json import LadderRow
from pipelines.diagnosis.between_runs import LEVEL
from pipelines.drawing.markdown import table_lines
from pipelines.ladders.ladder import FIGURES, Figures, Ladder
from pipelines.tracking.views import describe_links
from stylegan.files import write_bytes, write_csv
from stylegan.metrics.evaluation.metric import Metric, by_name, short


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


def write(found: Sequence[Standing], ladder: Ladder, folder: Path, links: Mapping[str, str]) -> None:
    """Write everything into `folder`, and remove what an earlier table left there.

    links: where MLflow compares the rows, name -> address.
    """
    rows, quoted = measured_rows(found, ladder), published_rows(ladder)
    lowest = lowest_of(rows)
    write_csv(folder / "table.csv", [cells_of(row) for row in rows])
    ladder_json.write(folder, ladder.name, rows, lowest)
    if quoted:
        write_csv(folder / "published.csv", [each.cells for each in quoted])
    write_bytes(folder / "table.md", markdown(rows, quoted, ladder, links).encode())
    charts: dict[str, list[bytes]] = {}
    if lowest is not None:
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
    numbers = describe_numbers(rows)
    measured_table = table(rows)
    page = ladder_page.build(
        ladder, numbers, measured_table, published_table(quoted), problems(rows, ladder), charts, links
    )
    write_bytes(folder / "index.html", page.encode())


def shown_metrics(rows: Sequence[LadderRow]) -> list[Metric]:
    """The metrics that readers are shown, in the order of the table, each of the last row that has it"""
    return [metric for metric in by_name(each for row in rows for each in row.metrics).values() if metric.kind in SHOWN]


def problems(rows: Sequence[LadderRow], ladder: Ladder) -> list[str]:
    """A line for each row that failed, and one for those not run"""
    failed = [f"{row.row} ({row.label}) failed: {row.problem}" for row in rows if row.problem is not None]
    missing = [name for name in ladder.by_name if name not in {row.row for row in rows}]
    return [*failed, *([f"not run: {', '.join(missing)}"] if missing else [])]


FACTS = {
    "against": "against", "snapshot_kimg": "kimg",
    "G_parameters": "parameters of G", "D_parameters": "parameters of D",
    "peak_resolution": "peaks at", "peak_median": "peak, median", "peak_p99_9": "peak, 99.9 %",
}  # fmt: skip
DELTA = "delta"
Table = tuple[list[str], list[list[tuple[str, str]]]]  # heads; for each row its cells, each with a verdict or ""


def describe_numbers(rows: Sequence[LadderRow]) -> str:
    """What the numbers of a table are of, and what may be read into a delta"""
    measured = [row for row in rows if row.is_measured]
    if not measured:
        return ""
    counts = [len(row.runs) for row in measured]
    images = " or ".join(sorted({f"{row.num_gen} generated against {row.num_real} real images" for row in measured}))
    if max(counts) < 2:
        return (
            f"One training per row, {images}: brackets hold confidence intervals for drawing the images again, and say "
            "nothing of another training. One seed cannot tell whether a delta is more than the spread between runs."
        )
    seeds = str(max(counts)) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
    return (
        f"Means of {seeds} trainings per row that differ in train.seed, with the standard deviation of one training; "
        f"{images}. Brackets behind a delta hold its interval over trainings (Welch). All intervals of the table "
        f"hold together in {LEVEL:.0%} (Bonferroni). Better or worse is said only where the interval excludes 0."
    )


def table(rows: Sequence[LadderRow]) -> Table:
    """What readers are shown of the measured rows, as text; what says how sure a value is stands behind it"""
    metrics = shown_metrics(rows)
    known = [cells_of(row) for row in rows]
    facts = [name for name in FACTS if any(name in cells for cells in known)]
    deltas = [DELTA] if any(row.delta is not None for row in rows) else []
    body: list[list[tuple[str, str]]] = []
    for row, cells in zip(rows, known, strict=True):
        measured = by_name(row.metrics)
        found = [row.row, row.label, *(_with_spread(measured.get(metric.name)) for metric in metrics)]
        changed = [(_delta(row), row.verdict or "")] if deltas else []
        body.append([*((cell, "") for cell in found), *changed, *((_text(cells.get(name)), "") for name in facts)])
    return ["row", "", *(metric.name for metric in metrics), *deltas, *(FACTS[name] for name in facts)], body


def _with_spread(metric: Metric | None) -> str:
    if metric is None:
        return ""
    if metric.sd is not None:
        return f"{_text(metric.value)} (sd {short(metric.sd, 2)})"
    bounds = metric.interval
    return _text(metric.value) + ("" if bounds is None else f" [{_text(bounds.low)}, {_text(bounds.high)}]")


def _delta(row: LadderRow) -> str:
    """A difference, and whether it can be told from the spread between runs"""
    if row.delta is None:
        return ""
    if row.delta_interval is None:
        return f"{_text(row.delta)} (one seed cannot tell)"
    bounds = f"{_text(row.delta)} [{_text(row.delta_interval.low)}, {_text(row.delta_interval.high)}]"
    return f"{bounds} {row.verdict or 'within the spread'}"


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return short(value, 3) if isinstance(value, float) else str(value)


def markdown(rows: Sequence[LadderRow], quoted: Sequence[QuotedRow], ladder: Ladder, links: Mapping[str, str]) -> str:
    """The tables for readers"""
    heads, body = table(rows)
    marked = [(False, [f"**{cell}**" if verdict else cell for cell, verdict in row]) for row in body]
    lines = [f"# {ladder.title}", "", ladder.question, ""]
    lines += ["## Measured here", "", describe_numbers(rows), "", *table_lines(heads, marked)]
    lines += ["", *(f"- {line}" for line in problems(rows, ladder))] if problems(rows, ladder) else []
    lines += ["", *(f"- {note}" for note in ladder.notes)] if ladder.notes else []
    lines += ["", describe_links(links)] if links else []
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
