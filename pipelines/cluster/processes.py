"""Processes on this machine that belong to this repository: trainers of its runs, and what Ray left of killed drivers.

Only looks; shutdown.py ends, status.py shows.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

SESSION = re.compile(r"session_[\d-]+_[\d-]+_\d+_(\d+)")  # Ray names a session after the process that starts it
# Titles that Ray gives to its processes, or its own programs; a pager that shows a log of Ray is neither.
RAYS = re.compile(r"^ray(::|-dashboard-)|/ray/(_private|core|dashboard|autoscaler)/")
NODE = ("gcs_server", "raylet")  # they die with a driver that started them, and live in a cluster that stays


@dataclass(frozen=True)
class Session:
    """What still runs of a Ray session whose driver is gone."""

    name: str
    driver_pid: int
    processes: tuple[psutil.Process, ...]


def run_folders(runs: Path) -> list[Path]:
    """Every run, in the order of its name"""
    return sorted(lock.parent for lock in runs.glob("*/driver.lock"))


def trainer_of(folder: Path) -> psutil.Process | None:
    """The process that its `pid` names, if it is alive and has driver.lock open, as pipelines/train/driver.py does.

    The number alone may belong to another process by now, or to one on another machine.
    """
    lock = str((folder / "driver.lock").resolve())
    try:
        process = psutil.Process(int((folder / "pid").read_text()))
        return process if any(file.path == lock for file in process.open_files()) else None
    except (FileNotFoundError, ValueError, psutil.Error):
        return None


def orphans(root: Path) -> list[Session]:
    """Ray sessions that were started in `root`, or hold files of its runs, and whose driver is gone.

    A session that has a node running is a cluster that somebody started to stay, and not an orphan.
    """
    members: dict[str, list[psutil.Process]] = defaultdict(list)
    ours: set[str] = set()
    for process in psutil.process_iter():
        try:
            name, is_ours = _session(process, root)
        except psutil.Error:  # gone meanwhile, or another user's
            continue
        if name is not None:
            members[name].append(process)
            ours |= {name} if is_ours else set()
    return list(_abandoned({name: members[name] for name in sorted(ours)}))


def _session(process: psutil.Process, root: Path) -> tuple[str | None, bool]:
    """Name of the process's Ray session, and whether that belongs to root"""
    command = " ".join(process.cmdline())
    if process.status() == psutil.STATUS_ZOMBIE or not RAYS.search(command):
        return None, False
    files = [file.path for file in process.open_files()]
    found = SESSION.search(" ".join([command, process.cwd(), *files]))
    runs = f"{root.resolve() / 'runs'}/"
    is_ours = Path(process.cwd()) == root.resolve() or any(path.startswith(runs) for path in files)
    return (found[0] if found else None), is_ours


def _abandoned(sessions: dict[str, list[psutil.Process]]) -> Iterator[Session]:
    for name, processes in sessions.items():
        match = SESSION.fullmatch(name)
        assert match is not None
        try:
            is_cluster = any(process.name() in NODE for process in processes)
            started = min(process.create_time() for process in processes)
        except psutil.NoSuchProcess:  # it is ending by itself
            continue
        driver = int(match[1])
        if not is_cluster and not _was_alive(driver, started):
            yield Session(name, driver, tuple(processes))


def _was_alive(pid: int, at: float) -> bool:
    """Whether a process of this number runs that is as old as `at`; a younger one only has the number."""
    try:
        process = psutil.Process(pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= at)
    except psutil.NoSuchProcess:
        return False
