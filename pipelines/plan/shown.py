"""What the report draws, so that no sheet becomes longer than a screen can show: by the size of the images."""

from collections.abc import Sequence
from typing import TypeVar

from pipelines.plan.origins import Choice, Choices
from stylegan.config.pyramid import Resolution, pyramid, sides

T = TypeVar("T")

LONGEST = 4096  # pixels of a sheet
MOST_SCALE = 4
SEEDS, COLUMNS = 60, 10  # of the sheet of samples, which is a little wider than high
STRIP_SEEDS, STRIP_PSIS = 8, (-1.0, -0.5, 0.0, 0.5, 0.7, 1.0)
MIXING_ROWS, MIXING_COLUMNS = (3, 7, 11, 15), (20, 21, 22, 23, 24, 25)
MIXING_LAYERS = range(2, 8)  # of 8 to 32 pixels


def sheet_choices(resolution: Resolution) -> Choices:
    """Enlarge small images, draw as few large ones as fit, and mix layers that the networks have."""
    longer_side, num_ws = max(sides(resolution)), pyramid(resolution).num_ws
    room = max(LONGEST // longer_side, 1)  # images side by side
    scale = max(1, min(MOST_SCALE, room // COLUMNS))
    values: dict[str, int | list[int] | list[float]] = {
        "video_scale": scale,
        "num_seeds": SEEDS if room >= COLUMNS else room * max(room * 3 // 5, 1),
        "strip_num_seeds": min(STRIP_SEEDS, room),
        "psi_strip": _spread(STRIP_PSIS, max(room, 2)),
        "mixing_rows": _spread(MIXING_ROWS, max(room - 1, 1)),  # next to the row of sources
        "mixing_cols": _spread(MIXING_COLUMNS, max(room - 1, 1)),
    }
    reason = f"no sheet longer than {LONGEST} pixels"
    choices = {f"render.{name}": Choice(value, reason) for name, value in values.items()}
    layers = [layer for layer in MIXING_LAYERS if layer < num_ws] or [num_ws - 1]
    return choices | {"render.mixing_layers": Choice(layers, "layers of 8 to 32 pixels")}


def _spread(values: Sequence[T], count: int) -> list[T]:
    """All of them, or `count` from the first to the last"""
    if count >= len(values):
        return list(values)
    return [values[round(place * (len(values) - 1) / max(count - 1, 1))] for place in range(count)]
