"""Drawings of the report: labelled sheets of pictures, and curves, each for a light and a dark page.

N images, C channels, H W image.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from stylegan.images import grid, to_pil

Ticks = Sequence[Mapping[str, float]]

# Okabe and Ito's colours: told apart by colour-blind readers, visible on white and on black.
_COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
_LIGHT = {"ink": "#1f2328", "faint": "#d0d7de", "paper": "#ffffff"}
_DARK = {"ink": "#e6edf3", "faint": "#3d444d", "paper": "#161b22"}

CONTRIBUTION = "contribution/b"  # columns of the training log, followed by the resolution

# Panels of training.png: title, columns of the training log, unit.
PANELS = (
    ("Losses", ("loss/G", "loss/D"), ""),
    ("Scores of D", ("logits/real", "logits/gen"), "logits"),
    ("Augmentation", ("augment/p", "augment/r_t"), ""),
    ("R1 penalty", ("loss/r1_penalty",), ""),
    ("Path length penalty", ("loss/pl_penalty",), ""),
    ("Speed", ("sec_per_kimg",), "s per 1000 images"),
)


def labelled_sheet(
    img: Tensor, columns: int, scale: int, *, column_labels: Sequence[str] = (), row_labels: Sequence[str] = ()
) -> Image.Image:
    """uint8 [N, C, H, W] row by row -> one RGB picture, each pixel scale x scale, labels above and to the left"""
    sheet = to_pil(grid(img, columns, scale)).convert("RGBA")
    cell_h, cell_w = img.shape[2] * scale, img.shape[3] * scale
    size = max(11, min(cell_w // 5, 28))
    font = ImageFont.load_default(size)
    top = int(size * 1.8) if column_labels else 0
    left = int(max((font.getlength(text) for text in row_labels), default=0)) + (12 if row_labels else 0)
    page = Image.new("RGB", (sheet.width + left, sheet.height + top), _LIGHT["paper"])
    page.paste(sheet, (left, top), sheet)
    draw = ImageDraw.Draw(page)
    for i, text in enumerate(column_labels):
        draw.text((left + (i + 0.5) * cell_w, top / 2), text, font=font, fill=_LIGHT["ink"], anchor="mm")
    for i, text in enumerate(row_labels):
        draw.text((left - 6, top + (i + 0.5) * cell_h), text, font=font, fill=_LIGHT["ink"], anchor="rm")
    return page


def png_of(picture: Image.Image) -> bytes:
    """The bytes of a PNG file"""
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def training_curves(ticks: Ticks, ada_target: float | None, *, dark: bool) -> bytes:
    """PNG of every panel whose columns the training log has, against kimg.

    Raises ValueError when it has none of them.
    """
    logged = {name for tick in ticks for name in tick}
    panels = [(title, [name for name in names if name in logged], unit) for title, names, unit in PANELS]
    panels = [panel for panel in panels if panel[1]]
    if not panels:
        known = ", ".join(name for _, names, _ in PANELS for name in names)
        raise ValueError(f"the training log has none of the columns {known}. Run `dvc repro train` again.")

    def draw(figure: Figure) -> None:
        axes = list(figure.subplots(-(-len(panels) // 3), min(len(panels), 3), squeeze=False).flat)
        for axis, (title, names, unit) in zip(axes, panels, strict=False):
            _curves(axis, ticks, names)
            if "augment/r_t" in names and ada_target is not None:
                axis.axhline(ada_target, color=_COLOURS[4], linestyle="--", linewidth=1, label="target of r_t")
            axis.set_title(title)
            axis.set(xlabel="kimg", ylabel=unit)
            if len(axis.get_lines()) > 1:
                axis.legend()
        for axis in axes[len(panels) :]:
            axis.set_visible(False)

    return _png(draw, (11, 2.9 * -(-len(panels) // 3)), dark=dark)


def contributions(ticks: Ticks) -> tuple[list[float], dict[int, list[float]]]:
    """Layer contributions of the snapshots  ->  (kimg of each, {resolution: per cent at each}); empty without any"""
    found = [{name: tick[name] for name in tick if name.startswith(CONTRIBUTION)} for tick in ticks]
    logged = [(tick["kimg"], values) for tick, values in zip(ticks, found, strict=True) if values]
    resolutions = sorted(int(name.removeprefix(CONTRIBUTION)) for name in (logged[-1][1] if logged else ()))
    columns = {res: [values[f"{CONTRIBUTION}{res}"] for _, values in logged] for res in resolutions}
    return [kimg for kimg, _ in logged], columns


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

    return _png(draw, (8.5, 3.4) if len(kimg) > 1 else (4.5, 3.4), dark=dark)


def truncation_curves(rows: Sequence[Mapping[str, float]], *, dark: bool) -> bytes:
    """PNG of every measured quantity against psi."""
    rows = sorted(rows, key=lambda row: row["psi"])
    names = [name for name in rows[0] if name != "psi"]

    def draw(figure: Figure) -> None:
        axes = list(figure.subplots(-(-len(names) // 2), 2, squeeze=False).flat)
        for axis in axes[len(names) :]:
            axis.set_visible(False)
        for index, (axis, name) in enumerate(zip(axes, names, strict=False)):
            colour = _COLOURS[index % len(_COLOURS)]
            axis.plot([row["psi"] for row in rows], [row[name] for row in rows], "o-", color=colour, markersize=4)
            axis.set_title(name, fontsize=8)
            axis.set(xlabel="psi")

    return _png(draw, (5.6, 2.3 * -(-len(names) // 2)), dark=dark)


def _stack(axis: Axes, position: int, values: Sequence[float], names: Sequence[int], colours: Sequence[Any]) -> None:
    bottoms = [math.fsum(values[:i]) for i in range(len(values))]
    for value, bottom, name, colour in zip(values, bottoms, names, colours, strict=True):
        axis.bar(position, value, 0.8, bottom, color=colour, label=f"b{name}" if position == 0 else None)


def _curves(axis: Axes, ticks: Ticks, names: Sequence[str]) -> None:
    for name, colour in zip(names, _COLOURS, strict=False):
        points = [(tick["kimg"], tick[name]) for tick in ticks if name in tick]
        axis.plot(*zip(*points, strict=True), color=colour, linewidth=1.4, label=name)


def _png(draw: Callable[[Figure], None], size: tuple[float, float], *, dark: bool) -> bytes:
    theme = _DARK if dark else _LIGHT
    style: dict[Any, Any] = {
        "figure.facecolor": theme["paper"], "axes.facecolor": theme["paper"], "axes.edgecolor": theme["faint"],
        "axes.labelcolor": theme["ink"], "text.color": theme["ink"], "xtick.color": theme["ink"],
        "ytick.color": theme["ink"], "grid.color": theme["faint"], "axes.grid": True, "grid.linewidth": 0.6,
        "axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "axes.titlesize": 10,
        "legend.frameon": False, "legend.fontsize": 8,
    }  # fmt: skip
    buffer = io.BytesIO()
    # A Figure made without pyplot draws with Agg: no window, no global state.
    with mpl.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
