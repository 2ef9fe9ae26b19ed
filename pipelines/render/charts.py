"""Charts of the report, each for a light and a dark page."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from pipelines.artifacts.metrics_json import MetricsReport, Truncation
from pipelines.artifacts.ticks import TickRow
from pipelines.drawing.style import COLOURS, png
from stylegan.config import Config
from stylegan.metrics.evaluation.metric import Metric, by_name, find

Ticks = Sequence[TickRow]
# Where the name of a point may stand: points to the right and up, the best first.
PLACES = (*((x, y) for y in (7, -9, 20, -22) for x in (9, -9)), (0, 16), (0, -18))


@dataclass(frozen=True)
class Curve:
    """One column of the training log."""

    name: str
    of: Callable[[TickRow], float | None]
    of_snapshots: bool = False  # alone: few points, or one

    def points(self, ticks: Ticks) -> list[tuple[float, float]]:
        """(kimg, value) of the ticks that have it"""
        return [(tick.kimg, value) for tick in ticks if (value := self.of(tick)) is not None]


R_T = Curve("augment/r_t", lambda row: row.augment.r_t)
R_V = Curve("augment/r_v", lambda row: row.augment.r_v)
# Panels of training.png: title, curves, unit.
OF_ALL, OF_AS_MANY = "of {gen} generated, {real} real images", "of {real} generated, {real} real images"
PANELS: tuple[tuple[str, tuple[Curve, ...], str], ...] = (
    ("Losses", (Curve("loss/G", lambda row: row.loss.G), Curve("loss/D", lambda row: row.loss.D)), ""),
    (
        "Scores of D",
        (
            Curve("logits/real", lambda row: row.logits.real),
            Curve("logits/gen", lambda row: row.logits.gen),
            Curve("logits/holdout", lambda row: row.logits.holdout),
        ),
        "logits",
    ),
    ("Augmentation", (Curve("augment/p", lambda row: row.augment.p), R_T, R_V), ""),
    ("R1 penalty", (Curve("loss/r1_penalty", lambda row: row.loss.r1_penalty),), ""),
    ("Gradient penalty", (Curve("loss/gp_penalty", lambda row: row.loss.gp_penalty),), ""),
    ("Path length penalty", (Curve("loss/pl_penalty", lambda row: row.loss.pl_penalty),), ""),
    ("KID while training", (Curve("monitor/kid", lambda row: row.monitor.kid, of_snapshots=True),), OF_ALL),
    (
        "Precision and recall while training",
        (
            Curve("monitor/precision", lambda row: row.monitor.precision, of_snapshots=True),
            Curve("monitor/recall", lambda row: row.monitor.recall, of_snapshots=True),
        ),
        OF_AS_MANY,
    ),
)
FAR = 3.0  # real images so many times beyond the best of the sweep are drawn in an inset, lest they flatten the curve


@dataclass(frozen=True)
class MonitorCounts:
    """How many images snapshots are scored with; reports/metrics.json has other numbers, so the axes say these."""

    gen: int
    real: int

    @classmethod
    def of(cls, config: Config, num_train: int) -> Self:
        """With num_train images in the training split"""
        count = config.monitor.num_images
        return cls(count, min(count, num_train, config.data.max_images or num_train))


def training_curves(ticks: Ticks, ada_target: float | None, counts: MonitorCounts, *, dark: bool) -> bytes:
    """PNG of every panel whose columns the training log has, against kimg.

    Raises ValueError if it has none of them.
    """
    logged = [(title, [curve for curve in curves if curve.points(ticks)], unit) for title, curves, unit in PANELS]
    panels = [panel for panel in logged if panel[1]]
    if not panels:
        known = ", ".join(curve.name for _, curves, _ in PANELS for curve in curves)
        raise ValueError(f"the training log has none of the columns {known}. Run `dvc repro train` again.")

    def draw(figure: Figure) -> None:
        axes = list(figure.subplots(-(-len(panels) // 3), min(len(panels), 3), squeeze=False).flat)
        for axis, (title, curves, unit) in zip(axes, panels, strict=False):
            _curves(axis, ticks, curves)
            if R_T in curves and ada_target is not None:
                label = "target of r_v" if R_V in curves else "target of r_t"
                axis.axhline(ada_target, color=COLOURS[4], linestyle="--", linewidth=1, label=label)
            axis.set_title(title)
            axis.set(xlabel="kimg", ylabel=unit.format(gen=counts.gen, real=counts.real))
            if len(axis.get_lines()) > 1:
                axis.legend()
        for axis in axes[len(panels) :]:
            axis.set_visible(False)

    return png(draw, (11, 2.9 * -(-len(panels) // 3)), dark=dark)


def contributions(ticks: Ticks) -> tuple[list[float], dict[int, list[float]]]:
    """Layer contributions of the snapshots  ->  (kimg of each, {resolution: per cent at each}); empty without any"""
    logged = [(tick.kimg, tick.contributions) for tick in ticks if tick.contribution]
    resolutions = logged[-1][1] if logged else {}
    return [kimg for kimg, _ in logged], {res: [shares[res] for _, shares in logged] for res in resolutions}


def layer_chart(ticks: Ticks, bands: Mapping[str, Mapping[int, float]], *, dark: bool) -> bytes:
    """PNG of the contribution of each resolution against kimg, and the bands of each set of images as a column beside.

    bands: {name of the images: {resolution: per cent}}. Without contributions in the log there are only the columns.
    """
    kimg, shares = contributions(ticks)
    resolutions = sorted(next(iter(bands.values())))
    colours = [mpl.colormaps["viridis"](0.1 + 0.85 * i / max(len(resolutions) - 1, 1)) for i in range(len(resolutions))]
    columns = ({"contribution": {res: shares[res][0] for res in shares}} if len(kimg) == 1 else {}) | dict(bands)

    def draw(figure: Figure) -> None:
        has_area = len(kimg) > 1
        widths = ([4.0] if has_area else []) + [0.55 * len(columns) + 0.4]
        *area, side = figure.subplots(1, len(widths), sharey=True, width_ratios=widths, squeeze=False)[0]
        for axis in area:
            axis.stackplot(kimg, list(shares.values()), colors=colours, linewidth=0)
            axis.set(title="Contribution of each resolution", xlabel="kimg", xlim=(kimg[0], kimg[-1]))
        for position, values in enumerate(columns.values()):
            _stack(side, position, [values[res] for res in resolutions], resolutions, colours)
        side.set_xticks(range(len(columns)), list(columns))
        side.set(title="Bands" if has_area else "Shares of resolutions", ylim=(0, 100), xlim=(-0.6, len(columns) - 0.4))
        side.grid(visible=False)
        (area or [side])[0].set_ylabel("%")
        handles, labels = side.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside right center", title="block")

    return png(draw, (8.5, 3.4) if len(kimg) > 1 else (4.5, 3.4), dark=dark)


def frontier_chart(results: MetricsReport, *, dark: bool) -> bytes:
    """PNG of the truncation sweep: precision against recall, and every metric against psi with its interval as a band.

    A star is what real images score, and an open circle the generator at psi = 1 with as many images. Without
    precision or recall there are only the metrics.
    """
    rows = results.by_rising_psi
    names = [metric.name for metric in rows[0].metrics]
    trade = [_place(row) for row in rows]
    has_trade = all(place is not None for place in trade)
    num_columns = min(3, len(names))
    num_rows = -(-len(names) // num_columns)
    height = max(4.4, 1.75 * num_rows)

    def draw(figure: Figure) -> None:
        panels: Any = figure
        if has_trade:
            left, panels = figure.subfigures(1, 2, squeeze=False, width_ratios=[1, 1.35])[0]
            _trade(left.subplots(), [place for place in trade if place is not None], results)
        axes = list(panels.subplots(num_rows, num_columns, squeeze=False, sharex=True).flat)
        for axis in axes[len(names) :]:
            axis.set_visible(False)
        for index, (axis, name) in enumerate(zip(axes, names, strict=False)):
            _band(axis, rows, name, COLOURS[index % len(COLOURS)])
            if index + num_columns >= len(names):
                axis.tick_params(labelbottom=True)  # also above an empty place of the last row
                axis.set_xlabel("psi")

    return png(draw, (11 if has_trade else 6.5, height), dark=dark)


@dataclass(frozen=True)
class _Place:
    """Where a psi is between variety and fidelity."""

    psi: float
    recall: Metric
    precision: Metric


def _place(row: Truncation) -> _Place | None:
    recall, precision = find(row.metrics, "recall"), find(row.metrics, "precision")
    return None if recall is None or precision is None else _Place(row.psi, recall, precision)


def _trade(axis: Axes, places: Sequence[_Place], results: MetricsReport) -> None:
    """Recall (x) against precision (y), one labelled point a psi, the recommended ringed, real images as a star"""
    x, y = [place.recall.value for place in places], [place.precision.value for place in places]
    for place in places:
        across, up = place.recall.interval, place.precision.interval
        if across is not None and up is not None:
            axis.plot(across, [place.precision.value] * 2, color=COLOURS[0], alpha=0.3)
            axis.plot([place.recall.value] * 2, up, color=COLOURS[0], alpha=0.3)
    axis.plot(x, y, "o-", color=COLOURS[0], markersize=5)
    chosen = next((place for place in places if place.psi == results.recommended.psi), None)
    if chosen is not None:
        axis.plot(chosen.recall.value, chosen.precision.value, "o", color=COLOURS[1], markersize=13,
                  markerfacecolor="none", markeredgewidth=2)  # fmt: skip
    counts = f"of {results.num_real} real, {results.num_images} generated images"
    axis.set(title="Fidelity against variety", xlabel=f"{places[0].recall.name}\n{counts}",
             ylabel=places[0].precision.name)  # fmt: skip
    axis.margins(0.18)
    names = {place.psi: f"psi {place.psi:g}" + (", recommended" if place is chosen else "") for place in places}
    _label(axis, {names[place.psi]: point for place, point in zip(places, zip(x, y, strict=True), strict=True)})
    real, like = _point(results.floor), _point(results.like_floor)
    if real is not None:
        far = real[0] > FAR * max(x) or real[1] > FAR * max(y)
        counts = f"{results.floor_num_real} real, {results.floor_num_images} others"
        _real_images(axis, (x, y), real, like, counts, far=far)


def _label(axis: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """A name next to each point, where it covers neither another name nor a point; the longest choose first"""
    root = axis.get_figure(root=True)
    assert root is not None, "a chart is drawn in a figure"
    root.draw_without_rendering()  # so that distances on the page are known
    at = {name: axis.transData.transform(point) for name, point in points.items()}
    taken = [Bbox.from_bounds(x - 8, y - 8, 16, 16) for x, y in at.values()]
    for name in sorted(points, key=len, reverse=True):
        found = [_placed(axis, name, points[name], place) for place in PLACES]
        boxes = [text.get_window_extent() for text in found]
        cost = [(box.count_overlaps(taken), not axis.bbox.containsx(box.x1) or not axis.bbox.containsx(box.x0))
                for box in boxes]  # fmt: skip
        best = min(range(len(found)), key=lambda i: (sum(cost[i]), i))
        taken.append(boxes[best])
        for index, text in enumerate(found):
            if index != best:
                text.remove()


def _placed(axis: Axes, name: str, point: tuple[float, float], place: tuple[int, int]) -> Annotation:
    side = "left" if place[0] > 0 else "right" if place[0] < 0 else "center"
    weight = "bold" if "recommended" in name else "normal"
    return axis.annotate(name, point, place, textcoords="offset points", ha=side, va="center", weight=weight)


def _point(metrics: Sequence[Metric]) -> tuple[float, float] | None:
    """Recall and precision"""
    recall, precision = find(metrics, "recall"), find(metrics, "precision")
    return None if recall is None or precision is None else (recall.value, precision.value)


def _real_images(
    axis: Axes,
    curve: tuple[Sequence[float], Sequence[float]],
    real: tuple[float, float],
    like: tuple[float, float] | None,
    counts: str,
    *,
    far: bool,
) -> None:
    """The star of real images: on the axes themselves, or on an inset that shows how far the curve is from it"""
    where = axis
    if far:  # upper right, where only a curve that comes near real images could be
        where = axis.inset_axes((0.64, 0.64, 0.34, 0.34))
        where.plot(*curve, "-", color=COLOURS[0], linewidth=2)
        where.set(xlim=(0, 1.05), ylim=(0, 1.05), xticks=[0, 1], yticks=[0, 1])
        where.tick_params(labelsize=7)
        axis.set_ylim(top=axis.get_ylim()[0] + 1.3 * (axis.get_ylim()[1] - axis.get_ylim()[0]))
    where.plot(*real, "*", color=COLOURS[4], markersize=13)
    where.annotate(f"real images\n({counts})", real, (-9, -8), textcoords="offset points", ha="right", fontsize=7)
    if like is not None:
        where.plot(*like, "o", color=COLOURS[4], markersize=6, markerfacecolor="none")


def _band(axis: Axes, rows: Sequence[Truncation], name: str, colour: str) -> None:
    """One metric against psi, its interval shaded where it has one"""
    points = [(row.psi, by_name(row.metrics)[name]) for row in rows]
    bounds = [(psi, *metric.interval) for psi, metric in points if metric.interval is not None]
    if bounds:
        psi, low, high = zip(*bounds, strict=True)
        axis.fill_between(psi, low, high, color=colour, alpha=0.22, linewidth=0)
    axis.plot([psi for psi, _ in points], [metric.value for _, metric in points], "o-", color=colour, markersize=4)
    axis.set_title(name, fontsize=8)


def _stack(axis: Axes, position: int, values: Sequence[float], names: Sequence[int], colours: Sequence[Any]) -> None:
    bottoms = [math.fsum(values[:i]) for i in range(len(values))]
    for value, bottom, name, colour in zip(values, bottoms, names, colours, strict=True):
        axis.bar(position, value, 0.8, bottom, color=colour, label=f"b{name}" if position == 0 else None)


def _curves(axis: Axes, ticks: Ticks, curves: Sequence[Curve]) -> None:
    for curve, colour in zip(curves, COLOURS, strict=False):
        x, y = zip(*curve.points(ticks), strict=True)
        marker = "o" if curve.of_snapshots else ""
        axis.plot(x, y, color=colour, linewidth=1.4, marker=marker, markersize=4, label=curve.name)
