"""What the report draws, so that no sheet becomes longer than a screen can show: by the size of the images."""

from collections.abc import Sequence
from typing import TypeVar

from pipelines.plan.origins import Choice, Choices
from stylegan.config.pyramid import Resolution, sides

T = TypeVar("T")

LONGEST = 4096  # pixels of a sheet
MOST_SCALE = 4
SEEDS, COLUMNS = 60, 10  # of the sheet of samples, which is a little wider than high
STRIP_SEEDS, STRIP_PSIS = 8, (-1.0, -0.5, 0.0, 0.5, 0.7, 1.0)
MIXING_ROWS, MIXING_COLUMNS = (3, 7), (20, 21, 22, 23, 24, 25)
BANDS = 3  # of styles, each of which is mixed for every row


def sheet_choices(resolution: Resolution) -> Choices:
    """Enlarge small images, and draw as few large ones as fit."""
    longer_side = max(sides(resolution))
    room = max(LONGEST // longer_side, 1)  # images side by side
    scale = max(1, min(MOST_SCALE, room // COLUMNS))
    values: dict[str, int | list[int] | list[float]] = {
        "video_scale": scale,
        "num_seeds": SEEDS if room >= COLUMNS else room * max(room * 3 // 5, 1),
        "strip_num_seeds": min(STRIP_SEEDS, room),
        "psi_strip": _spread(STRIP_PSIS, max(room, 2)),
        "mixing_rows": _spread(MIXING_ROWS, max((room - 1) // BANDS, 1)),  # next to the row of sources
        "mixing_cols": _spread(MIXING_COLUMNS, max(room - 1, 1)),
    }
    reason = f"no sheet longer than {LONGEST} pixels"
    return {f"render.{name}": Choice(value, reason) for name, value in values.items()}


def _spread(values: Sequence[T], count: int) -> list[T]:
    """All of them, or `count` from the first to the last"""
    if count >= len(values):
        return list(values)
    return [values[round(place * (len(values) - 1) / max(count - 1, 1))] for place in range(count)]
