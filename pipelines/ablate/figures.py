"""Charts of a ladder, of its measured rows."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from pipelines.artifacts.ladder_json import LadderRow, Quantiles
from pipelines.drawing.style import COLOURS, png
from stylegan.analysis.peaks import of_gaussian_noise
from stylegan.metrics.evaluation.metric import DISTANCES, Metric, by_name

Rows = Sequence[LadderRow]
COLUMNS = 3


def spread(metric: Metric) -> tuple[float, float] | None:
    """One standard deviation of a training to each side of a mean; of a single training, the interval of its images"""
    if metric.sd is None:
        return metric.interval
    return metric.value - metric.sd, metric.value + metric.sd


def bars(rows: Rows, metrics: Sequence[Metric], *, dark: bool) -> bytes:
    """PNG of every metric, a bar a row with its spread"""
    names, measured = [row.row for row in rows], [by_name(row.metrics) for row in rows]
    num_columns = min(COLUMNS, len(metrics))
    num_rows = -(-len(metrics) // num_columns)

    def draw(figure: Figure) -> None:
        axes = list(figure.subplots(num_rows, num_columns, squeeze=False, sharey=True).flat)
        for axis, metric in zip(axes, metrics, strict=False):
            # A row at which a metric failed has none.
            found = {place: numbers[metric.name] for place, numbers in enumerate(measured) if metric.name in numbers}
            axis.barh([*found], [each.value for each in found.values()], color=COLOURS[0], height=0.7)
            for place, each in found.items():
                if (bounds := spread(each)) is not None:
                    axis.plot(bounds, [place, place], color=COLOURS[1], linewidth=2)
            axis.set_yticks(range(len(rows)), names)
            axis.grid(visible=False, axis="y")
            axis.set_title(metric.name)
        axes[0].invert_yaxis()  # the first row on top; shared by all
        for axis in axes[len(metrics) :]:
            axis.set_visible(False)

    return png(draw, (11, num_rows * (1.1 + 0.3 * len(rows))), dark=dark)


def against_size(rows: Rows, metrics: Sequence[Metric], *, dark: bool) -> bytes:
    """PNG of every distance against the number of training images, a line for each mode of augmentation with its
    intervals (Karras et al. 2020a, Fig. 7)"""
    shown = [metric for metric in metrics if metric.kind in DISTANCES]
    modes = list(dict.fromkeys(row.mode for row in rows))

    def draw(figure: Figure) -> None:
        for axis, metric in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            for mode, colour in zip(modes, COLOURS, strict=False):
                line = sorted((row for row in rows if row.mode == mode), key=lambda row: row.num_images or 0)
                numbers = [(row.num_images, by_name(row.metrics)) for row in line]
                found = [(size, known[metric.name]) for size, known in numbers if metric.name in known]
                bounds = [(size, *ends) for size, each in found if (ends := spread(each)) is not None]
                if bounds:
                    axis.fill_between(*zip(*bounds, strict=True), color=colour, alpha=0.22, linewidth=0)
                sizes, values = [size for size, _ in found], [each.value for _, each in found]
                axis.plot(sizes, values, "o-", color=colour, markersize=4, label=mode)
            axis.set_xscale("log", base=2)
            ticks = sorted({row.num_images or 0 for row in rows})
            axis.set_xticks(ticks, [f"{size:,}" for size in ticks])
            axis.minorticks_off()
            axis.set(title=metric.name, xlabel="training images", ylim=(0, None))
            axis.legend(title="augment.mode")

    return png(draw, (5.5 * len(shown), 4), dark=dark)


def peaks(found: Mapping[str, Mapping[int, Quantiles]], *, dark: bool) -> bytes:
    """PNG of feature map peaks, a panel a resolution, a box a row: half of the maps, whiskers from 1 to 99.9 %"""
    resolutions = sorted({res for levels in found.values() for res in levels})
    num_columns = min(COLUMNS, len(resolutions))
    num_rows = -(-len(resolutions) // num_columns)

    def draw(figure: Figure) -> None:
        axes = list(figure.subplots(num_rows, num_columns, squeeze=False).flat)
        for axis, res in zip(axes, resolutions, strict=False):
            known = {name: levels[res] for name, levels in found.items() if res in levels}
            boxes = [
                {"label": name, "med": at.median, "q1": at.p25, "q3": at.p75, "whislo": at.p1,
                 "whishi": at.p99_9, "fliers": [at.max]}
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
