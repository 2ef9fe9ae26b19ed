"""stylegan.text: what a file says reaches the terminal as printable characters, a line at a time."""

import io
import json
import sys
from pathlib import Path

import pytest
import torch
from rich.progress import Progress
from rich.table import Table

from pipelines.cluster.errors import WorkerError, named
from pipelines.drawing.page import fill
from pipelines.tracking.journal import Journal
from stylegan.command_line import Parser
from stylegan.config import ConfigError
from stylegan.console import description_column, make_console
from stylegan.data import ArchiveError
from stylegan.exit_codes import exit_code
from stylegan.headers import GeneratorHeader, read_header
from stylegan.official import OfficialFileError
from stylegan.tensor_files import CheckpointError, open_tensors, write_tensors
from stylegan.text import MAX_LINE, print_json, print_lines, shorten, visible

# Of each kind: colour and cursor, a line of its own, a line over another, 8-bit controls, reordering, separators that
# some programs take for newlines, an invisible mark, a byte of a file name that is no UTF-8.
HOSTILE = {
    "\x1b[31m": r"\x1b[31m", "\nerror: all is well": r"\nerror: all is well", "\rX": r"\rX", "\x9b2J": r"\x9b2J",
    "\u202egnp.exe": r"\u202egnp.exe", "\u2066": r"\u2066", "\u2028": r"\u2028", "\x85": r"\x85", "\x00": r"\x00",
    "\ufeff": r"\ufeff", "\udce9": r"\udce9", "\x7f": r"\x7f", "\b": r"\x08", "\U000e0041": r"\U000e0041",
}  # fmt: skip


@pytest.mark.parametrize(("text", "shown"), HOSTILE.items())
def test_control_characters_are_escaped_once(text: str, shown: str) -> None:
    assert visible(f"a{text}b") == f"a{shown}b"
    assert visible(visible(text)) == shown


@pytest.mark.parametrize("text", ["", "épée 日本 עברית فارسی\u200cها", "👩\u200d🚀", "a\xa0b\u3000c", r"C:\new"])  # noqa: RUF001
def test_writing_of_every_language_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_no_way_to_the_terminal_lets_controls_through(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console(file=sys.stdout, width=200)
    table = Table("column", title=text)
    table.add_row(text)

    @exit_code
    def fail(_: object = None) -> None:
        raise ArchiveError(f"{text}: damaged")

    @exit_code
    def misconfigure(_: object = None) -> None:
        raise ConfigError(f"{visible(text)}: unknown\nsecond {text.strip()}")

    print_lines(text, text)
    print_lines(text, to_stderr=True)
    console.print(text)
    console.print(table)
    with Progress(description_column(), console=console) as bar:
        bar.add_task(text, total=1)
    assert fail() == misconfigure() == 1
    with pytest.raises(SystemExit):
        Parser(prog="x").parse_args([text])
    found = capsys.readouterr()
    for line in (found.out + found.err).split("\n"):
        assert visible(line) == line
        assert not line.startswith("error: all is well")
    print_json({"name": text})
    assert capsys.readouterr().out.replace("\x7f", "").replace("\n", "").isprintable()


@pytest.mark.parametrize("text", HOSTILE)
def test_the_error_of_a_worker_is_a_printable_line(text: str) -> None:
    with pytest.raises(WorkerError) as caught, named():
        raise RuntimeError(f"cannot read {text}.png")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_page_and_the_record_of_a_run_hold_printable_text(text: str, tmp_path: Path) -> None:
    template = tmp_path / "page.html"
    template.write_text("<p>{{ name }}</p>{{ note|safe }}")
    page = fill(template, {"name": f"<{text}>", "note": "<b>x</b>"}).replace("\n", "")
    assert page == f"<p>&lt;{visible(text.replace(chr(10), ''))}&gt;</p><b>x</b>"
    journal = Journal(tmp_path / "run")
    journal.params({"name": text})
    journal.tags({"tag": text})
    assert all(value.isprintable() for record, _ in journal.read(0) for value in record["values"].values())


@pytest.mark.parametrize("text", HOSTILE)
def test_names_in_model_files_are_printable(text: str, tmp_path: Path) -> None:
    path, name = tmp_path / "a.safetensors", text.encode(errors="replace").decode()  # the format is UTF-8
    write_tensors(path, {name: torch.zeros(1)}, {"generator": json.dumps({name: 1})})
    with pytest.raises(CheckpointError) as caught:
        read_header(open_tensors(path), GeneratorHeader)
    assert str(caught.value).isprintable()
    assert str(OfficialFileError(f"G holds {text}")).isprintable()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_any_encoding_shows_any_name(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    print_lines("é日\udce9")
    assert stream.buffer.getvalue().decode(encoding) in ("é日\\udce9\n", "é\\u65e5\\udce9\n", "\\xe9\\u65e5\\udce9\n")  # type: ignore[attr-defined]


def test_a_line_is_bounded_and_keeps_both_ends(capsys: pytest.CaptureFixture[str]) -> None:
    message = str(ArchiveError(f"place: {'x' * 10**6}. Remedy."))
    assert message.startswith("place: ")
    assert message.endswith(". Remedy.")
    assert len(message) < MAX_LINE + 50
    print_lines("y" * 10**6)
    assert len(capsys.readouterr().out) < MAX_LINE + 50
    assert shorten("short", 5) == "short"
