"""The page of a ladder: everything inside, nothing fetched, in the style of the report on a generator."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.drawing.page import embed, fill
from pipelines.ladders.ladder import Ladder
from pipelines.tracking.views import when

TEMPLATE = Path(__file__).with_name("ablate.html")


def build(
    ladder: Ladder, numbers: str, measured: Any, published: Any, problems: Sequence[str],
    charts: Mapping[str, Sequence[bytes]], links: Mapping[str, str],
) -> str:  # fmt: skip
    """One HTML page

    numbers: what they are of; measured: heads, and for each row its cells with their verdicts; published: heads
    and rows;
    charts: (light, dark) PNGs by name;
    links: where MLflow compares the rows, name -> address.
    """
    pictures = {name: [embed(png, "image/png") for png in pair] for name, pair in charts.items()}
    values = {"ladder": ladder, "numbers": numbers, "measured": measured, "published": published, "problems": problems}
    return fill(TEMPLATE, values | {"charts": pictures, "links": links, "when": when(next(iter(links.values()), ""))})
