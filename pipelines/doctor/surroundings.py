"""Checks of what surrounds the project: folders, proxies and version control."""

import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from pipelines.doctor.findings import Finding, State

SOCKET_BYTES = 107  # of the path of a Unix socket on Linux
# As long as Ray's names get: a process id of seven digits.
SOCKET = "ray/session_2026-01-01_00-00-00_000000_1000000/sockets/plasma_store"


def ray_folder() -> Path:
    """The folder in which Ray makes its own"""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above that exists"""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())


def check_folders(root: Path) -> Iterator[Finding]:
    """Folders that have to be writable, and the length of Ray's sockets"""
    home = Path(os.environ.get("HOME") or "/")
    folders: tuple[tuple[str, Path, State, str], ...] = (
        ("project", root, "problem", "Copy the project to a folder of yours."),
        ("TMPDIR", ray_folder(), "problem", "Set TMPDIR to a folder that you may write to: export TMPDIR=/tmp"),
        ("HOME", home, "warning", "Caches are lost between runs. Set HOME to a folder that you may write to."),
    )
    for name, folder, state, remedy in folders:
        reason = why_not_writable(folder)
        if reason is not None:
            yield Finding(name, state, f"{folder}: cannot be written to ({reason})", remedy)
        else:
            yield Finding(name, "ok", f"{folder} is writable")
    length = len(os.fsencode(ray_folder() / SOCKET))
    if length > SOCKET_BYTES:
        most = SOCKET_BYTES - len(SOCKET) - 1
        text = f"{ray_folder()}: too long for the paths of Ray's sockets, which leave it {most} bytes"
        yield Finding("TMPDIR", "problem", text, "export RAY_TMPDIR=/tmp")


def why_not_writable(folder: Path) -> str | None:
    """What the system says to a file there; None if it may be written"""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def check_proxies() -> Iterator[Finding]:
    """Whether a proxy stands between this machine and itself"""
    proxies = [kind for kind in urllib.request.getproxies() if kind in ("http", "https", "all")]
    if not proxies:
        yield Finding("proxy", "ok", "no proxy is set")
        return
    if not all(urllib.request.proxy_bypass(host) for host in ("127.0.0.1", "localhost")):
        yield Finding("proxy", "warning", f"{'_proxy, '.join(proxies)}_proxy also covers 127.0.0.1, "
                      "where MLflow and Ray listen", "export no_proxy=127.0.0.1,localhost")  # fmt: skip
    else:
        yield Finding("proxy", "ok", "a proxy is set, but not for this machine itself")


def check_repository(root: Path) -> Iterator[Finding]:
    """Whether DVC knows what it works in"""
    question = ["git", "-C", str(root), "rev-parse", "--git-dir"]
    has_git = shutil.which("git") and subprocess.run(question, check=False, capture_output=True).returncode == 0
    local = root / ".dvc" / "config.local"
    if has_git or (local.exists() and "no_scm" in local.read_text()):
        yield Finding("DVC", "ok", "works in a git repository" if has_git else "works without git (core.no_scm)")
    else:
        yield Finding("DVC", "problem", f"{root} is not a git repository, which DVC expects",
                      "dvc config --local core.no_scm true")  # fmt: skip
