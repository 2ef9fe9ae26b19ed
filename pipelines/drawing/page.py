"""Pages of one file: everything inside, nothing fetched, in one style."""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from stylegan.text import visible

STYLE = Path(__file__).with_name("page.css")


def fill(template: Path, values: Mapping[str, Any], filters: Mapping[str, Callable[..., str]] | None = None) -> str:
    """The template with its values, and in `style` the style sheet of all pages

    Raises jinja2.UndefinedError for a value that is missing.
    """
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_show,
    )
    environment.filters.update(filters or {})
    style = "\n" + STYLE.read_text(encoding="utf-8")
    return environment.from_string(template.read_text(encoding="utf-8")).render(style=style, **values)


def _show(value: Any) -> Any:
    """A text with its control characters escaped, line by line; what is marked as HTML stays"""
    return "\n".join(map(visible, value.split("\n"))) if type(value) is str else value


def embed(content: bytes, media_type: str) -> str:
    """Bytes as an address that holds them"""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
