"""Running a command line inside a test."""

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr


def run_or_exit(main: Callable[..., int], *arguments: str) -> None:
    """Run a command; a failure raises SystemExit with the message that it showed after `error: `."""
    shown = io.StringIO()
    try:
        with redirect_stderr(shown):
            status = main(arguments)
    finally:
        sys.stderr.write(shown.getvalue())
    if status:
        assert status == 1
        assert shown.getvalue().startswith("error: ")
        sys.exit(shown.getvalue().removeprefix("error: ").rstrip("\n"))
