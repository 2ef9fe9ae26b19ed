"""The numbers of snapshots in the log of a run, when they are measured by another yardstick than before.

Only snapshots that are kept can be measured again; the log must not compare the numbers of others with theirs.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from ray.train import Checkpoint

from pipelines.artifacts import ticks
from pipelines.artifacts.artifact import IN_RUNS, ArtifactError
from pipelines.artifacts.ticks import LOG, Monitored, TickRow
from pipelines.train.ranks import Report
from stylegan.files import check_regular, write_json

YARDSTICK = "monitor.json"  # of the numbers in the log
HASH = re.compile(r"[0-9a-f]+")  # a yardstick


def unmeasured(row: Report) -> Report:
    """The report of a tick without what was measured of its snapshot"""
    return dict(TickRow.of(row).model_copy(update={"monitor": Monitored()}).columns)


def yardstick_of_log(folder: Path) -> str | None:
    """By what the numbers in the log were measured; None if that is not known"""
    path = folder / YARDSTICK
    if not path.exists():
        return None
    check_regular(path)
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        found, problem = None, str(error)
    else:
        problem = "it is not a string of hexadecimal digits"
    if not isinstance(found, str) or not HASH.fullmatch(found):
        raise ArtifactError(
            f"{path}: does not say by what the numbers in {LOG} were measured ({problem}). {IN_RUNS}, for monitor as "
            "params.yaml has it; if monitor was changed since, delete the run instead."
        )
    return found


def forget(folder: Path, yardstick: str | None) -> None:
    """Drop numbers of another yardstick from the log, and note this one; None measures nothing and drops nothing."""
    if yardstick is None:
        return
    if yardstick_of_log(folder) not in (None, yardstick):
        ticks.write(folder, [row.model_copy(update={"monitor": Monitored()}) for row in ticks.read(folder)])
    write_json(folder / YARDSTICK, yardstick)


def fill(folder: Path, found: Sequence[tuple[Checkpoint, Report]]) -> None:
    """Give rows that lack them the numbers of their snapshots, which were measured again."""
    numbers = {row.nimg: row.monitor for row in (TickRow.of(report) for _, report in found)}
    rows = ticks.read(folder)
    filled = [
        row.model_copy(update={"monitor": numbers[row.nimg]})
        if row.monitor == Monitored() and row.nimg in numbers
        else row
        for row in rows
    ]
    if filled != rows:
        ticks.write(folder, filled)


def copy(source: Path, target: Path, end_nimg: int) -> None:
    """Begin a log with the rows of another up to a position, unless there is one."""
    if not (target / LOG).exists():
        ticks.write(target, [row for row in ticks.read(source) if row.nimg <= end_nimg])
