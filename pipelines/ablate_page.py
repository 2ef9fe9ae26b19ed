"""The page of a ladder: everything inside, nothing fetched, in the style of the report on a generator."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from pipelines.ladder import Ladder
from pipelines.report import TEMPLATE as REPORT
from pipelines.report import embed

TEMPLATE = Path(__file__).with_name("ablate.html")


def build(
    ladder: Ladder, measured: Any, published: Any, problems: Sequence[str], charts: Mapping[str, Sequence[bytes]]
) -> str:
    """One HTML page

    measured: heads, and for each row whether it is the best, and its cells; published: heads and rows;
    charts: (light, dark) PNGs by name.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style = REPORT.read_text(encoding="utf-8").partition("<style>")[2].partition("</style>")[0]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        style=style,
        ladder=ladder,
        measured=measured,
        published=published,
        problems=problems,
        charts={name: [embed(png, "image/png") for png in pair] for name, pair in charts.items()},
    )
