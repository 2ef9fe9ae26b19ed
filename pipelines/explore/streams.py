"""Long work as a stream of JSON lines: what it reports, then how it ended. It ends early when nobody listens."""

import asyncio
import base64
import json
import threading
import traceback
from collections.abc import AsyncIterator, Callable

from stylegan.exit_codes import explain, is_expected
from stylegan.text import lines_of, print_lines, visible

Report = Callable[[dict[str, object]], None]


class Abandoned(BaseException):
    """Nobody listens any more. No Exception, so that no handler of errors takes it for one."""


async def report_lines(work: Callable[[Report], None]) -> AsyncIterator[str]:
    """Run work(report) in a thread, and yield a line for each report, and {"error": ...} if it fails.

    When the listener leaves, the next report raises Abandoned in the work.
    """
    loop, lines, has_left = asyncio.get_running_loop(), asyncio.Queue[str | None](), threading.Event()

    def put(line: str | None) -> None:
        if has_left.is_set():
            raise Abandoned
        loop.call_soon_threadsafe(lines.put_nowait, line)

    def run() -> None:
        try:
            try:
                work(lambda found: put(as_json(found)))
            except Exception as error:
                put(as_json({"error": tell(error)}))
            put(None)
        except (Abandoned, RuntimeError):  # RuntimeError: the loop is closed, as the server has ended
            return

    # No daemon: torch aborts a process that ends while it computes.
    threading.Thread(target=run, name="explore").start()
    try:
        while (line := await lines.get()) is not None:
            yield line + "\n"
    finally:
        has_left.set()


def tell(error: Exception) -> str:
    """One line for the page; an error in this code also goes to the terminal, with its place."""
    if is_expected(error):
        return visible(explain(error) if isinstance(error, OSError) else lines_of(error)[0])
    print_lines(*"".join(traceback.format_exception(error)).rstrip().split("\n"), to_stderr=True)
    return visible(f"internal error: {type(error).__name__}. The terminal shows where; please report it.")


def as_json(value: object) -> str:
    """JSON on one line; bytes become base64"""
    return json.dumps(value, default=lambda content: base64.b64encode(content).decode())
