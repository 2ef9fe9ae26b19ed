"""What a reader does while it reads: audit events that no reader of data has, and the memory that it takes."""

import encodings
import importlib
import os
import pkgutil
import resource
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from PIL import Image

# Every one of these runs a program or code, or reaches beyond the process.
NEVER = (
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "subprocess.Popen",
    "pty.spawn", "socket.", "urllib.Request", "http.client.", "ftplib.", "smtplib.", "telnetlib.", "webbrowser.open",
    "exec", "import", "marshal.", "code.__new__", "cpython.", "ctypes.", "pickle.find_class", "os.kill", "syslog.",
    "os.putenv", "os.unsetenv", "os.chdir", "os.fchdir", "signal.pthread_kill", "fcntl.", "sys.set", "winreg.",
    "os.chroot", "os.setuid", "shutil.unpack_archive",
)  # fmt: skip
# Every one of these changes the file system; within the folder of the input they are a reader's own affair.
CHANGES = (
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.link", "os.symlink", "os.truncate",
    "os.utime", "os.setxattr", "os.removexattr", "os.mkfifo", "os.mknod", "shutil.", "tempfile.",
)  # fmt: skip
HARMLESS = ("os.listdir", "os.scandir", "os.walk", "os.fwalk", "glob.", "object.", "sys._getframe", "time.sleep")
# Parts of Python that codecs and error messages bring in: loaded before, so that no import is left to be noted.
OPTIONAL = ("pillow_heif",)  # this project's own extra, looked for when an image needs it
ON_DEMAND = ("_strptime", "difflib", "unicodedata", "traceback", "linecache", "stringprep", "quopri", "ast", "tokenize")


own_doing = ContextVar("own_doing", default=False)  # whether it is the campaign that forks


class Watch:
    """Notes what happens while `watching`; installed once in a process, for hooks cannot be removed."""

    def __init__(self, scratch: Path) -> None:
        self.events: list[str] = []
        self.is_on = False
        self._scratch = str(scratch)
        paths = [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), str(Path(__file__).resolve().parents[2])]
        self._readable = tuple({*paths, *(os.path.realpath(path) for path in paths), "/proc", "/sys", "/dev/null"})
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on or event.startswith(HARMLESS) or own_doing.get():
            return
        if event == "open":
            if not self._may_open(*arguments[:3]):
                self.events.append(f"open {arguments}"[:300])
        elif event.startswith(CHANGES):
            if not all(self._is_own(path) for path in arguments if isinstance(path, str | bytes | os.PathLike)):
                self.events.append(f"{event} {arguments}"[:300])
        elif event.startswith(NEVER) and not (event == "import" and arguments[0] in OPTIONAL):
            self.events.append(f"{event} {arguments}"[:300])

    def _may_open(self, path: object, mode: object, flags: object) -> bool:
        if isinstance(path, int) or self._is_own(path):
            return True
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        return not writes and str(path).startswith(self._readable)

    def _is_own(self, path: object) -> bool:
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        return os.path.realpath(os.path.join(self._scratch, text)).startswith(self._scratch)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note events while the block runs."""
        self.events.clear()
        self.is_on = True
        try:
            yield
        finally:
            self.is_on = False


def load_on_demand() -> None:
    """Import what Python imports when a file is in another encoding or is wrong, and what Pillow does for any image."""
    Image.init()
    for name in (
        *OPTIONAL,
        *ON_DEMAND,
        *(f"encodings.{module.name}" for module in pkgutil.iter_modules(encodings.__path__)),
    ):
        with suppress(ImportError):  # of other systems
            importlib.import_module(name)


def peak_bytes() -> int:
    """The most memory that this process has had since `forget_peak`"""
    return 1024 * int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])


def forget_peak() -> int:
    """Let the peak begin at what the process has now, and return that."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


def limit_address_space(room: int) -> None:
    """Refuse allocations beyond what the process has and room bytes: a bomb must not take the machine with it."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room, resource.RLIM_INFINITY))
