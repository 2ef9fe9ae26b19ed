"""What commands print reaches the terminal as it is, whatever brackets and colons are in it."""

import io
import re
from pathlib import Path

import pytest
from rich.progress import Progress
from rich.table import Table

from stylegan.console import description_column, make_console

TEXTS = ["[kid, fid]", "[bold]x.png", "[/]", "[link=http://a]b", "models/[red]a[/red].safetensors", "a :smile: b"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_line_and_the_cell_of_a_table_are_shown_as_they_are(text: str) -> None:
    file = io.StringIO()
    console = make_console(file=file, width=100)
    console.print(text)
    table = Table("column")
    table.add_row(text, style="bold")
    console.print(table)
    assert file.getvalue().count(text) == 2


@pytest.mark.parametrize("text", TEXTS)
def test_a_progress_bar_is_described_as_it_is(text: str) -> None:
    file = io.StringIO()
    with Progress(description_column(), console=make_console(file=file, width=100)) as bar:
        bar.add_task(text, total=1)
    assert text in file.getvalue()


def test_every_console_is_made_where_markup_is_off(repository: Path) -> None:
    making = re.compile(r"(?<![A-Za-z_])Console\(|\((Console|TextColumn)\)|TextColumn\(|from_markup|rich\.print")
    files = [path for room in ("stylegan", "pipelines", "benchmarks") for path in (repository / room).rglob("*.py")]
    assert [path.relative_to(repository).as_posix() for path in files if making.search(path.read_text())] == [
        "stylegan/console.py"
    ]
