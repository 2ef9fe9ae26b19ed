"""How a command ends: its exit code, and a line in place of a traceback for what a user can mend."""

import errno
import functools
import os
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TypeAlias

from stylegan.text import lines_of, print_lines

DONE, FAILED, MISUSED = 0, 1, 2
INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM  # 130 and 143, as shells count
OURS = ("stylegan", "pipelines")

AGAIN = "then give the same command again"
FULL = (errno.ENOSPC, errno.EDQUOT)
REMEDIES = {
    errno.ENOSPC: f"Free space on its disk, {AGAIN}",
    errno.EDQUOT: f"Free space within your quota, {AGAIN}",
    errno.EFBIG: f"Raise the limit of file sizes (ulimit -f), {AGAIN}",
    errno.EROFS: f"Mount the disk for writing or use another folder, {AGAIN}",
    errno.EACCES: f"Give yourself access (chmod, chown), {AGAIN}",
    errno.EPERM: f"Give yourself access (chmod, chown, chattr), {AGAIN}",
    errno.EIO: "The disk or its connection fails: check it, and copy what you need",
    errno.EMFILE: f"Raise the limit of open files (ulimit -n), {AGAIN}",
}

Main: TypeAlias = Callable[[Sequence[str] | None], int | None]


class Terminated(BaseException):
    """SIGTERM asked this process to end. No Exception, so that no handler of errors takes it for one."""


def exit_code(main: Main) -> Callable[..., int]:
    """Decorate a command line: return its exit code, and print an expected error as one line on stderr.

    A KeyboardInterrupt or Terminated that carries a message is shown too: what to run to continue. Only errors that no
    user can mend keep their traceback.
    """

    @functools.wraps(main)
    def guarded(arguments: Sequence[str] | None = None) -> int:
        try:
            with raising_on_sigterm():
                return main(arguments) or DONE
        except KeyboardInterrupt as stop:
            return _stopped(stop, INTERRUPTED)
        except Terminated as stop:
            return _stopped(stop, TERMINATED)
        except BrokenPipeError:  # `stylegan status | head` has read enough; nothing more can be written there
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except Exception as error:
            if is_expected(error):
                first, *others = [explain(error)] if isinstance(error, OSError) else lines_of(error)
                print_lines(f"error: {first}", *others, to_stderr=True)
            else:
                print_lines(*traceback.format_exc().rstrip("\n").split("\n"), to_stderr=True)
            return FAILED

    return guarded


def explain(error: OSError) -> str:
    """What an error of the system is about: the path, the reason, and the remedy where there is one to tell"""
    remedy, reason = REMEDIES.get(error.errno or 0), os.strerror(error.errno or 0)
    # Numbers of TLS mean something else; pyarrow says the reason in a sentence of its own.
    if remedy is None or reason not in str(error):
        return str(error)
    path = error.filename if error.filename is not None else _fullest() if error.errno in FULL else None
    return f"{os.fsdecode(path)}: {reason}. {remedy}." if isinstance(path, str | bytes) else f"{reason}. {remedy}."


def _fullest() -> str:
    """Of the folders that commands write to, the one whose disk has least room"""
    return min({os.getcwd(), tempfile.gettempdir()}, key=lambda folder: shutil.disk_usage(folder).free)


def is_expected(error: Exception) -> bool:
    """Whether the message is for the user: about a file, or raised by this project for them

    A ValueError that a library raises may as well be a mistake in this code, whose place one needs to see.
    """
    if isinstance(error, OSError) or _is_ours(type(error).__module__):
        return True
    if type(error) not in (ValueError, RuntimeError):
        return False
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and _is_ours(str(last.tb_frame.f_globals.get("__package__")))


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in OURS


def _stopped(stop: BaseException, code: int) -> int:
    if str(stop):
        print_lines(stop, to_stderr=True)
    return code


@contextmanager
def raising_on_sigterm() -> Iterator[None]:
    """Raise Terminated when SIGTERM comes, so that what is open is closed; a handler that is there stays"""
    alone = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not alone:
        yield
        return
    owner = os.getpid()

    def end(_number: int, _frame: FrameType | None) -> None:
        if os.getpid() == owner:
            raise Terminated
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a forked child ends as it always did
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
