"""Ctrl-C, SIGTERM and a closed terminal: a command ends in order, says in one line how to continue, and exits with
128 and the number of the signal: 130, 143, 129.

A second Ctrl-C ends it at once. Ray puts handlers of its own in place of these when it starts or trains: `kept` and
`interruptible` are for the two.
"""

import math
import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Generic, TypeVar

import psutil

from stylegan.text import print_lines, visible

R = TypeVar("R")
WATCHED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WAKE_SEC = 0.5
LONE_BYTE = re.compile(r"\\udc(?=[89a-f])")  # how Python spells a byte of an argument that is no UTF-8
SHOW_CURSOR = "\x1b[?25h"  # which a line that moves hides


class Stopped(KeyboardInterrupt):
    """A signal asks this process to end. No Exception, so that no handler of errors takes it for one."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.reached = signal.Signals(number), ""

    def __str__(self) -> str:
        """One line: what was reached, if that is known, and what to run to continue"""
        return f"Stopped{self.reached and ': ' + self.reached}. To continue, run: {command()}"

    @property
    def exit_code(self) -> int:
        """As shells count"""
        return 128 + self.number


def command() -> str:
    """What a person runs to give this command again: the make target of the DVC stage that it is, else itself"""
    stage = os.environ.get("DVC_STAGE", "").rpartition(":")[2]
    name, _, ladder = stage.partition("@")
    if name == "ablate":
        return f"make ablate LADDER={ladder}"
    if name:
        return f"make {'sweep' if name == 'sweep' else 'repro'}"
    return " ".join(map(_quote, sys.orig_argv))


def _quote(argument: str) -> str:
    """As a shell reads it, on one line: control characters within $'...', bytes that are no UTF-8 as they are there"""
    if visible(argument) == argument:
        return shlex.quote(argument)
    escaped = argument.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + LONE_BYTE.sub(lambda _: "\\x", visible(escaped)) + "'"


class _Handler:
    """Raises Stopped in the main thread for the first signal; the second Ctrl-C ends the process."""

    def __init__(self) -> None:
        self.owner, self.is_called = os.getpid(), False
        self.is_held = False
        self.waiting: int | None = None  # a signal that came while signals were held

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.owner:  # a forked child ends as it always did
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not self.is_called:
            self.is_called = True
            if number == signal.SIGHUP:
                _write_no_more()
            if not self.is_held:
                raise Stopped(number)
            self.waiting = number
        elif number == signal.SIGINT:  # a group may get SIGTERM twice, from a service and from its parent
            end_at_once(128 + number)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let the first signal wait until the end of the block, which it would tear apart."""
        self.is_held = True
        try:
            yield
        finally:
            self.is_held = False
        if self.waiting is not None:
            raise Stopped(self.waiting)


def _write_no_more() -> None:
    """A terminal that is closed refuses every write, and what ends would stumble over that."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if os.isatty(stream):
            os.dup2(null, stream)


def end_at_once(exit_code: int) -> None:
    """SIGKILL to what this process has started, and exit without cleaning up."""
    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    if sys.stdout.isatty():
        os.write(sys.stdout.fileno(), f"{SHOW_CURSOR}\n".encode())
    os._exit(exit_code)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Let a signal raise Stopped in the block; outside of it becomes one line and the exit code.

    Signals that this process ignores, as under nohup, stay ignored. Inside another, or in a thread, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread() or _ours():
        yield
        return
    before = {number: signal.getsignal(number) for number in WATCHED}
    handler = _Handler()
    for number, old in before.items():
        if old is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    except Stopped as stop:
        print_lines(stop, to_stderr=True)
        raise SystemExit(stop.exit_code) from None
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def kept() -> Iterator[None]:
    """Put the handlers of stop_on_signals back after the block, in which others may replace them."""
    ours = _ours()
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)


def _ours() -> dict[signal.Signals, _Handler]:
    """Signals that stop_on_signals handles now"""
    handlers = {number: signal.getsignal(number) for number in WATCHED}
    return {number: handler for number, handler in handlers.items() if isinstance(handler, _Handler)}


class _Work(threading.Thread, Generic[R]):
    """Runs a function and keeps what it returns or raises."""

    def __init__(self, work: Callable[[], R]) -> None:
        super().__init__(name="interruptible", daemon=True)
        self.work = work
        # Not join(): before Python 3.13 one that is interrupted takes the thread for ended.
        self.has_ended = threading.Event()
        self.result: R | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error
        finally:
            self.has_ended.set()


def _wait(event: threading.Event, limit_sec: float = math.inf) -> None:
    """Wait in the main thread, which looks for signals every WAKE_SEC.

    The kernel may hand the second of two signals to another thread, and that does not wake this one.
    """
    end = time.monotonic() + limit_sec
    while not event.wait(min(WAKE_SEC, max(end - time.monotonic(), 0.0))) and time.monotonic() < end:
        pass


def interruptible(
    work: Callable[[], R], ask_to_end: Callable[[], None], grace_sec: float
) -> tuple[R | None, Stopped | None]:
    """work() in a thread, where it can replace no handler, and a signal reaches the main thread at once.

    Returns its result, and the Stopped of a signal that came meanwhile: then ask_to_end() is called, and what has not
    returned after grace_sec has no result. Raises what work() raises unless it was asked to end.
    """
    ours = _ours()
    if not ours or threading.current_thread() is not threading.main_thread():
        return work(), None
    thread, handler = _Work(work), next(iter(ours.values()))  # one handler for all signals
    try:
        with handler.hold():
            thread.start()
        _wait(thread.has_ended)
    except Stopped as stop:
        if thread.ident is None:  # nothing has begun that could be asked to end
            raise
        ask_to_end()
        _wait(thread.has_ended, grace_sec)
        return thread.result, stop
    if thread.error is not None:
        raise thread.error
    return thread.result, None
