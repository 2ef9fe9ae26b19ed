"""How charts look, on a light and on a dark page."""

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart by colour-blind readers, visible on white and on black.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
_LIGHT = {"ink": "#1f2328", "faint": "#d0d7de", "paper": "#ffffff"}
_DARK = {"ink": "#e6edf3", "faint": "#3d444d", "paper": "#161b22"}


def png(draw: Callable[[Figure], None], size: tuple[float, float], *, dark: bool) -> bytes:
    """What `draw` draws, on a page of `size` inches"""
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
