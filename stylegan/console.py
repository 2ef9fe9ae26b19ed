"""The terminal that commands draw on: text is shown as it is, whatever brackets and colons are in it."""

from typing import Any

from rich.console import Console
from rich.progress import Task, TextColumn
from rich.text import Text

from stylegan.text import visible


def make_console(**options: Any) -> Console:
    """Return a Console that shows the list [kid, fid], the file [bold]x.png and the text :smile: as they are.

    Control characters in a line or in a cell are escaped, a newline too.
    """
    return _Console(**{"markup": False, "emoji": False, "highlight": False} | options)


def description_column() -> TextColumn:
    """Return the column of a progress bar that says what it is about, as it is."""
    return _Description("{task.description}", markup=False)


class _Console(Console):
    def render_str(self, text: str, **how: Any) -> Text:
        """Of every text that is no Text yet: lines, cells, titles"""
        return super().render_str(visible(text), **how)


class _Description(TextColumn):
    def render(self, task: Task) -> Text:
        """The description in one line"""
        return Text(visible(task.description), style=self.style, justify=self.justify)
