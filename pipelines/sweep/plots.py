"""Charts of a sweep. A row is a (trial, psi): run, the trial's parameters, psi, metrics."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.artifacts.metric_names import kind_of, label_of, name_of, short
from pipelines.drawing.style import COLOURS, png

Rows = Sequence[Mapping[str, Any]]
AXES = ("kid", "fid", "precision", "recall", "ppl")  # metrics that parallel coordinates show
SPAN = 100  # a parameter that varies by more than this factor is drawn on a logarithmic axis


def against_parameter(rows: Rows, names: Sequence[str], metric: str) -> bytes:
    """PNG of the distance against the first parameter that has numbers (without one, the trial), one line a psi"""
    name = next((name for name in names if all(_is_number(row[name]) for row in rows)), None)
    runs = list(dict.fromkeys(row["run"] for row in rows))

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        for psi, colour in _psi_colours(rows):
            points = sorted((row[name] if name else runs.index(row["run"]), row[metric]) for row in rows
                            if row["psi"] == psi)  # fmt: skip
            axis.plot(*zip(*points, strict=True), "o-", color=colour, markersize=4, label=f"psi {psi:g}")
        axis.set(title=f"{label_of(metric)} against {name or 'trial'}", xlabel=name or "trial", ylabel=metric)
        if name and _is_wide([row[name] for row in rows]):
            axis.set_xscale("log")
        axis.legend()

    return png(draw, (6.5, 4), dark=False)


def frontiers(rows: Rows, names: Sequence[str]) -> bytes:
    """PNG of precision against recall, one line a trial with its psi; without those, a page that says so"""
    precision, recall = name_of(rows[0], "precision"), name_of(rows[0], "recall")
    runs = list(dict.fromkeys(row["run"] for row in rows))

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        if precision is None or recall is None:
            axis.set_title("Precision and recall were not measured: add pr to evaluate.metrics")
            return
        for run, colour in zip(runs, _colours(len(runs)), strict=True):
            line = sorted((row for row in rows if row["run"] == run), key=lambda row: float(row["psi"]))
            label = ", ".join(f"{name.rpartition('.')[2]} {_text(line[0][name])}" for name in names) or run
            x, y = [row[recall] for row in line], [row[precision] for row in line]
            axis.plot(x, y, "o-", color=colour, markersize=4, label=label)
            for row in (line[0], line[-1]):
                axis.annotate(f"{row['psi']:g}", (row[recall], row[precision]), (4, 4), textcoords="offset points",
                              fontsize=7, color=colour)  # fmt: skip
        axis.set(title="Fidelity against variety, psi at the ends", xlabel=recall, ylabel=precision)
        axis.legend()

    return png(draw, (6.5, 4.4), dark=False)


def parallel(rows: Rows, names: Sequence[str], metric: str) -> bytes:
    """PNG of parallel coordinates: parameters, psi, metrics; dark lines have the lowest distance"""
    shown = [name for name in rows[0] if kind_of(name) in AXES and name not in ("run", "status", *names)]
    columns = [*names, "psi", *shown]
    order = sorted(rows, key=lambda row: -float(row[metric]))  # the best on top

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        scaled = {name: _scaled([row[name] for row in order]) for name in columns}
        for i in range(len(order)):
            shade = mpl.colormaps["viridis_r"](0.05 + 0.95 * i / max(len(order) - 1, 1))
            heights = [scaled[name][i] for name in columns]
            axis.plot(range(len(columns)), heights, color=shade, linewidth=1.6, alpha=0.85)
        for position, name in enumerate(columns):
            _coordinate(axis, position, [row[name] for row in order])
        axis.set_xticks(range(len(columns)), columns, rotation=15, ha="right")
        axis.set_yticks([])
        axis.margins(x=0.08, y=0.1)
        axis.set_title(f"Every trial at every psi; the darker, the lower {label_of(metric)}")

    return png(draw, (max(6.5, 1.6 * len(columns)), 4.4), dark=False)


def _coordinate(axis: Axes, position: int, values: Sequence[Any]) -> None:
    """A vertical with its ends written at it"""
    axis.axvline(position, color="#6e7781", linewidth=0.8)
    heights = _scaled(values)
    ends = dict(zip(heights, values, strict=True))
    for height in sorted({min(heights), max(heights)} if _is_number(values[0]) else set(heights)):
        axis.annotate(_text(ends[height]), (position, height), (4, 0), textcoords="offset points", fontsize=7)


def _scaled(values: Sequence[Any]) -> list[float]:
    """Each value as its place between the least (0) and the greatest (1); what is no number by its order of mention"""
    if not all(_is_number(value) for value in values):
        known = list(dict.fromkeys(map(str, values)))
        return [known.index(str(value)) / max(len(known) - 1, 1) for value in values]
    numbers = [math.log(value) for value in values] if _is_wide(values) else [float(value) for value in values]
    low, high = min(numbers), max(numbers)
    return [0.5 if high == low else (number - low) / (high - low) for number in numbers]


def _is_wide(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) >= SPAN


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    return short(float(value), 3) if _is_number(value) else str(value)


def _psi_colours(rows: Rows) -> list[tuple[float, Any]]:
    psis = sorted({float(row["psi"]) for row in rows})
    return list(zip(psis, _colours(len(psis)), strict=True))


def _colours(count: int) -> list[Any]:
    """Told apart by colour-blind readers while they last, then a scale"""
    scale = mpl.colormaps["viridis"]
    return COLOURS[:count] if count <= len(COLOURS) else [scale(i / (count - 1)) for i in range(count)]
