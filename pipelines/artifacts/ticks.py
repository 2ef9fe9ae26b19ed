"""The ticks of a run, as rows: runs/<fingerprint>/ticks.jsonl while it trains, reports/ticks.csv afterwards."""

import csv
from pathlib import Path

from pipelines.artifacts import json_lines
from stylegan.files import write_table

Row = dict[str, float]

LOG = "ticks.jsonl"
CONTRIBUTION = "contribution/b"  # columns of the training log, followed by the resolution
MONITOR = "monitor/"  # columns that only snapshots have
# What depends on the machine and the day, and so is in the log and in MLflow but in no output of a stage.
COSTS = ("sec", "sec_per_kimg", "memory_gb")
COST_GROUPS = ("ranks/", "system/")


def read(folder: Path) -> list[Row]:
    """Ticks of a run so far, oldest first"""
    return [row for row, _ in json_lines.read(folder / LOG)]


def write_csv(rows: list[Row], path: Path) -> None:
    """Write what the run learned as a table, without its costs; what a tick lacks leaves its cell empty."""
    first = ["nimg", "kimg"]
    found = {name for row in rows for name in row if name not in COSTS and not name.startswith(COST_GROUPS)}
    names = [*first, *sorted(found - set(first))]
    write_table(path, names, ([row.get(name) for name in names] for row in rows))


def read_csv(path: Path) -> list[Row]:
    """Rows of the training log, one a tick; a cell that holds no number is left out of its row.

    Raises FileNotFoundError with the stage that writes it.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no training log there. Run `dvc repro train`, which writes it.")
    with path.open(newline="") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
