"""Tables in Markdown."""

from collections.abc import Sequence

Row = tuple[bool, Sequence[str]]  # whether it is the best, and its cells


def table_lines(heads: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Lines of a table, its best rows bold"""
    cells = [heads, *([f"**{cell}**" if is_best and cell else cell for cell in row] for is_best, row in rows)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return [lines[0], "|" + "---|" * len(heads), *lines[1:]]
