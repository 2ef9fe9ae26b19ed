"""The numbers of snapshots in the log of a run, when they are measured by another yardstick than before.

Only snapshots that are kept can be measured again; the log must not compare the numbers of others with theirs.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from ray.train import Checkpoint

from pipelines.artifacts import ticks
from pipelines.artifacts.ticks import LOG, MONITOR, Row
from stylegan.files import replacing, write_json

YARDSTICK = "monitor.json"  # of the numbers in the log


def unmeasured(row: Row) -> Row:
    """The row without what was measured of its snapshot"""
    return {name: value for name, value in row.items() if not name.startswith(MONITOR)}


def yardstick_of_log(folder: Path) -> str | None:
    """By what the numbers in the log were measured; None where that is not known"""
    path = folder / YARDSTICK
    return str(json.loads(path.read_text())) if path.exists() else None


def forget(folder: Path, yardstick: str | None) -> None:
    """Drop numbers of another yardstick from the log, and note this one; None measures nothing and drops nothing."""
    if yardstick is None:
        return
    if yardstick_of_log(folder) not in (None, yardstick):
        _rewrite(folder, [unmeasured(row) for row in ticks.read(folder)])
    write_json(folder / YARDSTICK, yardstick)


def fill(folder: Path, found: Sequence[tuple[Checkpoint, Row]]) -> None:
    """Give rows that lack them the numbers of their snapshots, which were measured again."""
    numbers = {row["nimg"]: {name: row[name] for name in row if name.startswith(MONITOR)} for _, row in found}
    rows = ticks.read(folder)
    filled = [numbers.get(row["nimg"], {}) | row for row in rows]
    if filled != rows:
        _rewrite(folder, filled)


def copy(source: Path, target: Path, end_nimg: int) -> None:
    """Begin a log with the rows of another up to a position, unless there is one."""
    if not (target / LOG).exists():
        _rewrite(target, [row for row in ticks.read(source) if row["nimg"] <= end_nimg])


def _rewrite(folder: Path, rows: Sequence[Row]) -> None:
    with replacing(folder / LOG) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows))
