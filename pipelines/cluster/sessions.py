"""The folders that Ray leaves below its temporary one, a session each: those of this project go when they are done.

A session is marked with the process that started it. That process removes it at a good end, and the next one what
others left that were killed; of these the newest stays, for its logs may be wanted.
"""

import shutil
from pathlib import Path

import psutil

from pipelines.cluster import ownership

MARK = "stylegan_owner"  # file in a session: who started it


def begin(session: Path) -> None:
    """Mark a session as this process's, and remove what this project left beside it."""
    remove_finished(session.parent)
    (session / MARK).write_text(str(ownership.this_process()))


def end(session: Path) -> None:
    """Remove a session that has ended well."""
    shutil.rmtree(session, ignore_errors=True)


def remove_finished(folder: Path) -> None:
    """Remove sessions whose process has gone, but for the newest; those of other users of Ray stay."""
    marks = sorted(folder.glob(f"session_*/{MARK}"))  # Ray names them by time
    finished = [mark.parent for mark in marks if not mark.parent.is_symlink() and not _is_in_use(mark)]
    for session in finished[:-1]:
        shutil.rmtree(session, ignore_errors=True)


def _is_in_use(mark: Path) -> bool:
    try:
        owner = ownership.parse(mark.read_text())
    except OSError:  # of another user, or gone by now
        return True
    # Not is_alive(): the start of a process looks another one after the clock was set, and its Ray may be at work.
    return owner is None or psutil.pid_exists(owner.pid)
