"""Charts of a sweep. A point is a (trial, psi)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.artifacts.metrics_json import Truncation
from pipelines.drawing.style import COLOURS, png
from stylegan.metrics.evaluation.metric import Kind, Metric, by_name, distance_of, find, short

AXES: tuple[Kind, ...] = ("kid", "fid", "precision", "recall", "ppl")  # metrics that parallel coordinates show
SPAN = 100  # a parameter that varies by more than this factor is drawn on a logarithmic axis


@dataclass(frozen=True)
class Point:
    """A trained generator at one psi."""

    run: str
    drawn: Mapping[str, Any]  # the trial's parameters by dotted path
    at: Truncation

    @property
    def distance(self) -> Metric:
        """What points are judged by"""
        return distance_of(self.at.metrics)


Points = Sequence[Point]


def against_parameter(points: Points, names: Sequence[str]) -> bytes:
    """PNG of the distance against the first parameter that has numbers (without one, the trial), one line a psi

    Bars are one standard deviation of a training, with several seeds.
    """
    name = next((name for name in names if all(_is_number(point.drawn[name]) for point in points)), None)
    runs = list(dict.fromkeys(point.run for point in points))
    metric = points[0].distance

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        for psi, colour in _psi_colours(points):
            line = sorted(
                (point.drawn[name] if name else runs.index(point.run), point.distance.value, point.distance.sd or 0.0)
                for point in points
                if point.at.psi == psi
            )
            x, y, sd = zip(*line, strict=True)
            axis.errorbar(x, y, sd if any(sd) else None, fmt="o-", color=colour, markersize=4, label=f"psi {psi:g}")
        axis.set(title=f"{metric.label} against {name or 'trial'}", xlabel=name or "trial", ylabel=metric.name)
        if name and _is_wide([point.drawn[name] for point in points]):
            axis.set_xscale("log")
        axis.legend()

    return png(draw, (6.5, 4), dark=False)


def frontiers(points: Points, names: Sequence[str]) -> bytes:
    """PNG of precision against recall, one line a trial with its psi; without those, a page that says so"""
    places = [_place(point) for point in points]
    runs = list(dict.fromkeys(point.run for point in points))

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        if places[0] is None:
            axis.set_title("Precision and recall were not measured: add pr to evaluate.metrics")
            return
        for run, colour in zip(runs, _colours(len(runs)), strict=True):
            line = sorted(
                (place for place in places if place and place[0].run == run), key=lambda place: place[0].at.psi
            )
            drawn = line[0][0].drawn
            label = ", ".join(f"{name.rpartition('.')[2]} {_text(drawn[name])}" for name in names) or run
            x, y = [recall.value for _, recall, _ in line], [precision.value for _, _, precision in line]
            axis.plot(x, y, "o-", color=colour, markersize=4, label=label)
            for point, recall, precision in (line[0], line[-1]):
                axis.annotate(f"{point.at.psi:g}", (recall.value, precision.value), (4, 4), textcoords="offset points",
                              fontsize=7, color=colour)  # fmt: skip
        _, recall, precision = places[0]
        axis.set(title="Fidelity against variety, psi at the ends", xlabel=recall.name, ylabel=precision.name)
        axis.legend()

    return png(draw, (6.5, 4.4), dark=False)


def _place(point: Point) -> tuple[Point, Metric, Metric] | None:
    """A point with its recall and precision, where both were measured"""
    recall, precision = find(point.at.metrics, "recall"), find(point.at.metrics, "precision")
    return None if recall is None or precision is None else (point, recall, precision)


def parallel(points: Points, names: Sequence[str]) -> bytes:
    """PNG of parallel coordinates: parameters, psi, metrics; dark lines have the lowest distance"""
    order = sorted(points, key=lambda point: -point.distance.value)  # the best on top
    shown = [metric.name for metric in points[0].at.metrics if metric.kind in AXES]
    metrics = [by_name(point.at.metrics) for point in order]
    columns: dict[str, list[Any]] = {name: [point.drawn[name] for point in order] for name in names}
    columns |= {"psi": [point.at.psi for point in order]}
    columns |= {name: [found[name].value for found in metrics] for name in shown}

    def draw(figure: Figure) -> None:
        axis = figure.subplots()
        scaled = {name: _scaled(values) for name, values in columns.items()}
        for i in range(len(order)):
            shade = mpl.colormaps["viridis_r"](0.05 + 0.95 * i / max(len(order) - 1, 1))
            heights = [scaled[name][i] for name in columns]
            axis.plot(range(len(columns)), heights, color=shade, linewidth=1.6, alpha=0.85)
        for position, values in enumerate(columns.values()):
            _coordinate(axis, position, values)
        axis.set_xticks(range(len(columns)), list(columns), rotation=15, ha="right")
        axis.set_yticks([])
        axis.margins(x=0.08, y=0.1)
        axis.set_title(f"Every trial at every psi; the darker, the lower {points[0].distance.label}")

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


def _psi_colours(points: Points) -> list[tuple[float, Any]]:
    psis = sorted({point.at.psi for point in points})
    return list(zip(psis, _colours(len(psis)), strict=True))


def _colours(count: int) -> list[Any]:
    """Told apart by colour-blind readers while they last, then a scale"""
    scale = mpl.colormaps["viridis"]
    return COLOURS[:count] if count <= len(COLOURS) else [scale(i / (count - 1)) for i in range(count)]
