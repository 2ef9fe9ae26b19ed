"""Text for people: whatever a file has put into a name or a message, the terminal is sent printable characters only.

Every command prints through print_lines (ruff's T20 finds others) or the console of console.py.
"""

import json
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

# Controls (escape, newline, ...), formats (among them the marks that reorder a line), lone surrogates (bytes of a file
# name that are no UTF-8), separators of lines and paragraphs.
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
JOINERS = "\u200c\u200d"  # formats that Persian, Indian scripts and emoji are spelt with
MAX_LINE = 4000  # characters of a printed line or of the message of an error


class OneLineError(ValueError):
    """An error whose message is one printable line of bounded length, whatever the names and contents in it."""

    def __init__(self, message: object = "") -> None:
        super().__init__(shorten(visible(message)))


class ProblemsError(ValueError):
    """An error whose message lists problems, each on one printable line."""

    def __init__(self, message: object = "") -> None:
        super().__init__("\n".join(shorten(visible(line)) for line in str(message).split("\n")))


def lines_of(error: BaseException) -> list[str]:
    """What to print of an error: its problems, or a single line"""
    return str(error).split("\n") if isinstance(error, ProblemsError) else [str(error)]


def visible(text: object) -> str:
    r"""The text with its control characters escaped: \x1b, \n, \u202e; \udce9 for a byte that is no UTF-8"""
    text = str(text)
    return text if text.isprintable() else "".join(map(_escape, text))


def shorten(text: str, limit: int = MAX_LINE) -> str:
    """The text without its middle if it is longer than `limit`: a message begins with the place, and ends with the
    remedy"""
    if len(text) <= limit:
        return text
    mark = f" [... {len(text) - limit:,} characters ...] "
    return text[: limit // 2] + mark + text[-(limit // 2) :]


def is_utf8(text: str) -> bool:
    """Whether a text can be written in UTF-8; the name of a file may hold bytes that are not"""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def listed(words: Sequence[object], most: int = 12) -> str:
    """Words separated by commas: `most` of them, and how many others there are"""
    others = f", and {len(words) - most:,} others" if len(words) > most else ""
    return ", ".join(shorten(visible(word), 100) for word in words[:most]) + others


def print_lines(*lines: object, to_stderr: bool = False) -> None:
    """Print each on a line of its own, at once; control characters are escaped and what is too long is cut."""
    stream = sys.stderr if to_stderr else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    for line in lines:
        text = shorten(visible(line)).encode(encoding, "backslashreplace").decode(encoding)
        print(text, file=stream, flush=True)


def print_json(value: Any) -> None:
    """Print plain values as indented JSON, for programs: ASCII alone, and never cut."""
    print(json.dumps(value, indent=2), flush=True)  # noqa: T201


def _escape(character: str) -> str:
    if unicodedata.category(character) not in HIDDEN or character in JOINERS:
        return character
    return character.encode("unicode_escape").decode()
