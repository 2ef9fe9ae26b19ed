"""Checks of what surrounds the project: folders, proxies and version control."""

import io
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path

from pipelines.cluster import environment
from pipelines.doctor.findings import Finding, State
from stylegan.config import ConfigError


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
    yield from check_sockets()


def check_sockets() -> Iterator[Finding]:
    """What a start of Ray would say of the folder for its sockets"""
    said, variables = io.StringIO(), dict(os.environ)
    try:
        with redirect_stderr(said):
            environment.shorten_temporary_folder(variables)
    except ConfigError as error:
        yield Finding("TMPDIR", "problem", str(error), "export RAY_TMPDIR=/tmp")
    if said.getvalue():
        yield Finding("TMPDIR", "warning", said.getvalue().strip(), f"export TMPDIR={variables['TMPDIR']}")


def why_not_writable(folder: Path) -> str | None:
    """What the system says to a file there; None if it may be written"""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or str(error)


def check_proxies() -> Iterator[Finding]:
    """Whether a proxy is set; commands keep it out of connections to this machine"""
    names = [f"{kind}_proxy" for kind in urllib.request.getproxies() if f"{kind}_proxy" in environment.PROXIES]
    yield Finding("proxy", "ok", f"{', '.join(names)} set; not used for this machine" if names else "no proxy is set")


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
