"""The ticks of a run, as rows: runs/<fingerprint>/ticks.jsonl while it trains, reports/ticks.csv afterwards.

A column is named by its field, that of a group with the group before it: `kimg`, `loss/G`, `contribution/b64`.
A column that no field has is refused, so every statistic of the training has its type here. What a tick lacks, its row
leaves out; the columns name themselves, so the log needs no version.
"""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from pipelines.artifacts import json_lines
from pipelines.artifacts.artifact import ArtifactError, Values, explain
from stylegan.files import check_regular, write_bytes, write_json, write_table

LOG = "ticks.jsonl"
OWN = "own"  # key of a rank's own part in its report, which no row has
_FIRST = ("nimg", "kimg")  # columns of the table
# What depends on the machine and the day, and so is in the log and in MLflow but in no output of a stage.
_COSTS = ("sec", "sec_per_kimg", "memory_gb")
_COST_GROUPS = ("ranks/", "system/")


Position = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Block = Annotated[str, Field(pattern=r"^b[1-9][0-9]{0,4}$")]


class Losses(Values):
    """Means over the tick."""

    G: float | None = None
    D: float | None = None
    r1_penalty: float | None = None
    gp_penalty: float | None = None
    pl_penalty: float | None = None


class Logits(Values):
    """Mean scores of D."""

    real: float | None = None
    gen: float | None = None
    holdout: float | None = None

    @property
    def gap(self) -> float | None:
        """How far D scores real images above generated ones"""
        return None if self.real is None or self.gen is None else self.real - self.gen


class Augmentation(Values):
    """Where adaptive augmentation is."""

    p: float | None = None
    r_t: float | None = None
    r_v: float | None = None


class Monitored(Values):
    """What a snapshot was found to be; none of it at other ticks."""

    kid: float | None = None
    kid_se: float | None = None  # its standard error, for drawing both sets of images again
    precision: float | None = None
    recall: float | None = None
    spread: float | None = None


class Ranks(Values):
    """Extremes over several ranks; none of it of one alone."""

    count: int | None = None
    busy_sec_per_kimg_min: float | None = None
    busy_sec_per_kimg_median: float | None = None
    busy_sec_per_kimg_max: float | None = None
    memory_gb_min: float | None = None
    memory_gb_max: float | None = None
    slowest: int | None = None


class TickRow(Values):
    """One row of the tick log."""

    nimg: Position  # real images shown to D so far
    kimg: Position
    sec: float | None = None
    sec_per_kimg: float | None = None
    memory_gb: float | None = None
    loss: Losses = Losses()
    logits: Logits = Logits()
    augment: Augmentation = Augmentation()
    grad_norm: Mapping[str, float] = {}  # by phase of the step
    monitor: Monitored = Monitored()
    contribution: Mapping[Block, float] = {}  # of each block to the image, in per cent: {"b64": 12.5}
    ranks: Ranks = Ranks()
    system: Mapping[str, float] = {}  # load of the machines, for the tracker

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> "TickRow":
        """The row with these columns, without a rank's own part of its report.

        Raises ValueError that names the first column which is unknown or no number.
        """
        if not isinstance(columns, Mapping):
            raise ValueError(f"a {type(columns).__name__}, expected columns")
        values: dict[str, float] = {}
        groups: dict[str, dict[str, float]] = {}
        for column, value in columns.items():
            group, slash, name = column.partition("/")
            if slash:
                groups.setdefault(group, {})[name] = value
            elif column != OWN:
                values[column] = value
        try:
            return cls.model_validate(values | groups)
        except ValidationError as error:
            raise ValueError(explain(error, "/")) from None

    @property
    def columns(self) -> dict[str, float]:
        """Every number of the row by the name of its column"""
        found: dict[str, float | None] = {}
        for name, value in self:
            if isinstance(value, Values | Mapping):
                group = value.items() if isinstance(value, Mapping) else value
                found |= {f"{name}/{part}": number for part, number in group}
            else:
                found[name] = value
        return {name: value for name, value in found.items() if value is not None}

    @property
    def series(self) -> dict[str, float]:
        """What a tracker draws against the position: all columns but that"""
        return {name: value for name, value in self.columns.items() if name not in ("nimg", "kimg")}

    @property
    def contributions(self) -> dict[int, float]:
        """Share of each resolution in the generated images, in per cent, ascending; empty but at snapshots"""
        return dict(sorted((int(block.removeprefix("b")), share) for block, share in self.contribution.items()))


def parse(line: bytes) -> TickRow:
    """The row that a line of the log holds. Raises ValueError."""
    return TickRow.of(json_lines.record_of(line))


def append(folder: Path, row: TickRow) -> None:
    """Add a tick to the log of a run."""
    json_lines.append(folder / LOG, row.columns)


def write(folder: Path, rows: Iterable[TickRow]) -> None:
    """Write the log of a run anew, whole."""
    write_bytes(folder / LOG, b"".join(json_lines.line_of(row.columns) for row in rows))


def read_from(folder: Path, offset: int) -> tuple[list[TickRow], int]:
    """Ticks of a run after a byte offset of its log, oldest first, and the offset that follows them

    Raises ArtifactError for a line that is no tick.
    """
    rows, path = [], folder / LOG
    try:
        for record, end in json_lines.read(path, offset):
            rows.append(TickRow.of(record))
            offset = end
    except (ValueError, AttributeError) as error:
        problem = error.problem if isinstance(error, json_lines.DamagedLineError) else error
        raise ArtifactError(
            f"{path}: the line after byte {offset} is not a tick: {problem}. Delete {folder} to train the run again."
        ) from None
    return rows, offset


def read(folder: Path) -> list[TickRow]:
    """Ticks of a run so far, oldest first. Raises ArtifactError for a line that is no tick."""
    return read_from(folder, 0)[0]


def write_one(path: Path, row: TickRow | None) -> None:
    """Write the last tick of a checkpoint, if there was one."""
    write_json(path, {} if row is None else row.columns)


def read_one(path: Path) -> TickRow | None:
    """The last tick of a checkpoint, if there was one. Raises FileNotFoundError, or ValueError for a file of none."""
    check_regular(path)
    columns = json.loads(path.read_text(encoding="utf-8"))
    return None if columns == {} else TickRow.of(columns)


def write_csv(rows: Iterable[TickRow], path: Path) -> None:
    """Write what the run learned as a table, without its costs; what a tick lacks leaves its cell empty."""
    table = [row.columns for row in rows]
    found = {name for row in table for name in row if name not in _COSTS and not name.startswith(_COST_GROUPS)}
    names = [*_FIRST, *sorted(found - set(_FIRST))]
    write_table(path, names, ([row.get(name) for name in names] for row in table))


def read_csv(path: Path) -> list[TickRow]:
    """Rows of the training log, one a tick; an empty cell is left out of its row.

    Raises FileNotFoundError with the stage that writes it, ArtifactError for a table that is none.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: training log not found. Run `dvc repro train`, which writes it.")
    check_regular(path)
    rows: list[TickRow] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                rows.append(TickRow.of({name: _number(cell) for name, cell in line.items() if cell}))
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        place = f"{path}: line {len(rows) + 2} is not a tick: {error}"
        raise ArtifactError(f"{place}. Run `dvc repro --force train`, which writes it again.") from None
    return rows


def _number(cell: str) -> float:
    return int(cell) if cell.isdecimal() else float(cell)
