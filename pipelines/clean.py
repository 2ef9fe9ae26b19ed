"""`make clean`: remove the outputs that DVC can bring back, and neither what differs from its cache nor other files."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from pipelines.command_table import COMMANDS
from pipelines.params import ROOT
from stylegan.exit_codes import exit_code
from stylegan.text import print_lines
from stylegan.wording import counted


class CleanError(RuntimeError):
    """DVC cannot say what it could bring back, so nothing was removed."""


class _Changes(BaseModel):
    added: list[str] = []
    modified: list[str] = []


class _Status(BaseModel):
    """What `dvc data status` says: of dvc.lock against Git (committed), and of files against dvc.lock (uncommitted)"""

    committed: _Changes = _Changes()
    uncommitted: _Changes = _Changes()
    unchanged: list[str] = []
    not_in_cache: list[str] = []


def remove_outputs(root: Path) -> tuple[list[str], list[str]]:
    """Remove outputs that equal what DVC's cache holds  -> (what was removed, what was kept), below root.

    Raises CleanError.
    """
    status = _ask_dvc(root)
    different = {*status.uncommitted.added, *status.uncommitted.modified, *status.not_in_cache}
    recorded = {*status.unchanged, *status.committed.added, *status.committed.modified}
    removed = sorted(name for name in recorded - different if (root / name).exists())
    for name in removed:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for folder in {root / Path(name).parts[0] for name in removed}:
        if folder.is_dir():
            _remove_empty(folder)
    return removed, sorted(name for name in different if (root / name).exists())


def _ask_dvc(root: Path) -> _Status:
    command = [sys.executable, "-m", "dvc", "data", "status", "--unchanged", "--json"]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if answer.returncode:
        reason = (answer.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise CleanError(f"{root}: `dvc data status` failed: {reason}. Nothing was removed.")
    return _Status.model_validate_json(answer.stdout)


def _remove_empty(folder: Path) -> None:
    """Remove folders without files, from the deepest up"""
    for path in sorted((path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
    if not any(folder.iterdir()):
        folder.rmdir()


@exit_code
def main(arguments: Sequence[str] | None = None) -> None:
    """Command line"""
    COMMANDS["clean"].parse(arguments)
    removed, kept = remove_outputs(ROOT)
    print_lines(f"removed {counted(len(removed), 'output')}, which `make repro` restores from DVC's cache")
    if kept:
        print_lines(f"kept {', '.join(kept)}: not as DVC's cache has them, so nothing could restore them")


if __name__ == "__main__":
    sys.exit(main())
