"""The terminal that every command prints to: text is shown as it is, whatever brackets and colons are in it."""

from typing import Any

from rich.console import Console
from rich.progress import TextColumn


def make_console(**options: Any) -> Console:
    """Return a Console that shows the list [kid, fid], the file [bold]x.png and the text :smile: as they are."""
    return Console(**{"markup": False, "emoji": False, "highlight": False} | options)


def description_column() -> TextColumn:
    """Return the column of a progress bar that says what it is about, as it is."""
    return TextColumn("{task.description}", markup=False)
