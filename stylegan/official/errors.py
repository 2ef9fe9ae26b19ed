"""The one error of this package, and how it quotes what a file says."""

from stylegan.text import OneLineError

MAX_QUOTE = 80  # characters


class OfficialFileError(OneLineError):
    """A file is no official network file, is damaged, or asks for more than data; the message says what to do."""


def printable(value: object) -> str:
    """Text of a file in a message: short, and harmless to a terminal. Of other values only the type."""
    if isinstance(value, bool | int | float) or value is None:
        return str(value)
    if not isinstance(value, str):
        return f"a {type(value).__name__}"
    return ascii(value[:MAX_QUOTE])[1:-1] + ("..." if len(value) > MAX_QUOTE else "")
