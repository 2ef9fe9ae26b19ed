"""Rows of the tick log from a few of their columns."""

from collections.abc import Iterable, Mapping

from pipelines.artifacts.ticks import TickRow


def tick(columns: Mapping[str, float]) -> TickRow:
    """The row with these columns; of nimg and kimg, one follows from the other."""
    kimg = columns.get("kimg", columns.get("nimg", 0.0) / 1000)
    return TickRow.of({"nimg": 1000 * kimg, "kimg": kimg} | dict(columns))


def ticks(rows: Iterable[Mapping[str, float]]) -> list[TickRow]:
    """Rows of a log."""
    return [tick(columns) for columns in rows]
