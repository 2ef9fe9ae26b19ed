"""Folders that Ray leaves: this project's finished ones go, the newest of them and everybody else's stay."""

from dataclasses import replace
from pathlib import Path

from pipelines.cluster import ownership, sessions
from pipelines.cluster.ownership import Owner

GONE = Owner(2**22 + 1, 1.0, Path("/somewhere"))  # beyond the highest number of a process


def session(folder: Path, name: str, owner: object) -> Path:
    path = folder / f"session_2026-01-{name}"
    (path / "logs").mkdir(parents=True)
    if owner is not None:
        (path / sessions.MARK).write_text(str(owner))
    return path


def test_sessions_of_processes_that_are_gone_are_removed_but_for_the_newest(tmp_path: Path) -> None:
    old, older, newest = (session(tmp_path, name, GONE) for name in ("02", "01", "03"))
    running = session(tmp_path, "04", replace(ownership.this_process(), started=1.0))  # as after the clock was set
    foreign, damaged = session(tmp_path, "00", None), session(tmp_path, "05", "no owner")
    (tmp_path / "session_latest").symlink_to(running)
    mine = session(tmp_path, "06", None)
    sessions.begin(mine)
    left = {path.name for path in tmp_path.iterdir()} - {"session_latest"}
    assert left == {path.name for path in (newest, running, foreign, damaged, mine)}
    assert not old.exists()
    assert not older.exists()


def test_a_session_that_ends_well_is_removed(tmp_path: Path) -> None:
    mine = session(tmp_path, "01", None)
    sessions.begin(mine)
    sessions.end(mine)
    assert not mine.exists()
