"""Charts of a ladder. A row has its name in `row`, metrics, bounds NAME_low and NAME_high of some, num_images, mode."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.artifacts.metric_names import DISTANCES, kind_of
from pipelines.drawing.style import COLOURS, png
from stylegan.analysis.peaks import of_gaussian_noise

Rows = Sequence[Mapping[str, Any]]
COLUMNS = 3


def bars(rows: Rows, metrics: Sequence[str], *, dark: bool) -> bytes:
    """PNG of every metric, a bar a row with its interval"""
    names = [row["row"] for row in rows]
    num_columns = min(COLUMNS, len(metrics))
    num_rows = -(-len(metrics) // num_columns)

    def draw(figure: Figure) -> None:
        axes = list(figure.subplots(num_rows, num_columns, squeeze=False, sharey=True).flat)
        for axis, metric in zip(axes, metrics, strict=False):
            places = range(len(rows))
            axis.barh(places, [row[metric] for row in rows], color=COLOURS[0], height=0.7)
            for place, row in zip(places, rows, strict=True):
                _interval(axis, place, row, metric)
            axis.set_yticks(places, names)
            axis.grid(visible=False, axis="y")
            axis.set_title(metric)
        axes[0].invert_yaxis()  # the first row on top; shared by all
        for axis in axes[len(metrics) :]:
            axis.set_visible(False)

    return png(draw, (11, num_rows * (1.1 + 0.3 * len(rows))), dark=dark)


def _interval(axis: Axes, place: int, row: Mapping[str, Any], metric: str) -> None:
    if f"{metric}_low" in row:
        axis.plot([row[f"{metric}_low"], row[f"{metric}_high"]], [place, place], color=COLOURS[1], linewidth=2)


def against_size(rows: Rows, metrics: Sequence[str], *, dark: bool) -> bytes:
    """PNG of every distance against the number of training images, a line for each mode of augmentation with its
    intervals (Karras et al. 2020a, Fig. 7)"""
    shown = [metric for metric in metrics if kind_of(metric) in DISTANCES]
    modes = list(dict.fromkeys(row["mode"] for row in rows))

    def draw(figure: Figure) -> None:
        for axis, metric in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            for mode, colour in zip(modes, COLOURS, strict=False):
                line = sorted((row for row in rows if row["mode"] == mode), key=lambda row: int(row["num_images"]))
                sizes = [row["num_images"] for row in line]
                bounds = [(row["num_images"], row[f"{metric}_low"], row[f"{metric}_high"])
                          for row in line if f"{metric}_low" in row]  # fmt: skip
                if bounds:
                    axis.fill_between(*zip(*bounds, strict=True), color=colour, alpha=0.22, linewidth=0)
                axis.plot(sizes, [row[metric] for row in line], "o-", color=colour, markersize=4, label=mode)
            axis.set_xscale("log", base=2)
            sizes = sorted({row["num_images"] for row in rows})
            axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axis.minorticks_off()
            axis.set(title=metric, xlabel="training images", ylim=(0, None))
            axis.legend(title="augment.mode")

    return png(draw, (5.5 * len(shown), 4), dark=dark)


def peaks(found: Mapping[str, Mapping[int, Mapping[str, float]]], *, dark: bool) -> bytes:
    """PNG of feature map peaks, a panel a resolution, a box a row: half of the maps, whiskers from 1 to 99.9 %"""
    resolutions = sorted({res for levels in found.values() for res in levels})
    num_columns = min(COLUMNS, len(resolutions))
    num_rows = -(-len(resolutions) // num_columns)

    def draw(figure: Figure) -> None:
        axes = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
        for axis, res in zip(axes, resolutions, strict=False):
            known = {name: levels[res] for name, levels in found.items() if res in levels}
            boxes = [
                {"label": name, "med": at["median"], "q1": at["p25"], "q3": at["p75"], "whislo": at["p1"],
                 "whishi": at["p99_9"], "fliers": [at["max"]]}
                for name, at in known.items()
            ]  # fmt: skip
            line = {"color": COLOURS[0]}
            axis.bxp(
                boxes, boxprops=line, whiskerprops=line, capprops=line, medianprops={"color": COLOURS[1]},
                flierprops={"marker": "x", "markeredgecolor": COLOURS[0], "markersize": 4},
            )  # fmt: skip
            axis.axhline(of_gaussian_noise(res), color=COLOURS[2], linestyle="--", linewidth=1)
            axis.set(title=f"b{res}", ylim=(0, None))
        for axis in axes[len(resolutions) :]:
            axis.set_visible(False)
        axes[0].set_ylabel("max |x - mean| / std")

    return png(draw, (max(8, 3.6 * num_columns), 3.1 * num_rows), dark=dark)
