"""Writes the table of the campaign into docs/reliability.md, from benchmarks/results/hostile.json.

python -m benchmarks.hostile.page
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results" / "hostile.json"
PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- benchmarks.hostile.page: begin -->", "<!-- benchmarks.hostile.page: end -->"
# Keys of the results, and what the page calls them.
COLUMNS = {
    "accepted": "accepted", "refused": "refused", "executed": "executed", "traceback": "traceback",
    "memory": "> 1 GB", "slow": "> 10 s", "later": "later failure", "message": "unsafe message",
}  # fmt: skip


def main() -> None:
    """Write the page."""
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), json.loads(RESULTS.read_text())), encoding="utf-8")


def with_table(page: str, found: dict[str, Any]) -> str:
    """The page with the table of these results between its marks"""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return "\n".join([before + BEGIN, *table(found), END]) + after


def table(found: dict[str, Any]) -> Iterator[str]:
    """A row for each group of readers, and their sum"""
    groups = list(dict.fromkeys(row["group"] for row in found["rows"]))
    yield f"| files | readers | {' | '.join(COLUMNS.values())} | slowest, s | most, MB |"
    yield "|---" + "|--:" * (len(COLUMNS) + 3) + "|"
    for name in groups:
        yield _line(name, [row for row in found["rows"] if row["group"] == name])
    yield _line("all", found["rows"])
    yield ""
    inputs = sum(row[key] for row in found["rows"] for key in COLUMNS)
    spent = sum(row["sec"] for row in found["rows"]) / 60
    yield f"{inputs:,} inputs of seed {found['seed']}. Reading them took {spent:.0f} minutes of processor time."


def _line(name: str, rows: list[dict[str, Any]]) -> str:
    sums = [f"{sum(row[key] for row in rows):,}" for key in COLUMNS]
    slowest, most = max(row["slowest_sec"] for row in rows), max(row["most_mb"] for row in rows)
    return f"| {name} | {len(rows)} | {' | '.join(sums)} | {slowest:.1f} | {most:,} |"


if __name__ == "__main__":
    main()
