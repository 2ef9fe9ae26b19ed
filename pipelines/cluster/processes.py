"""Processes on this machine that belong to this repository: trainers of its runs, and what Ray left of killed drivers.

Only looks; shutdown.py ends, status.py shows.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipelines.cluster.ownership import Owner, owner_of

EXPERIMENTS = ("sweeps", "ladders")  # folders below runs/ of drivers that start one run after the other


@dataclass(frozen=True)
class Orphans:
    """What still runs of a Ray whose driver is gone."""

    driver_pid: int
    processes: tuple[psutil.Process, ...]


def driver_folders(runs: Path) -> list[Path]:
    """Every sweep and ladder, then every run: a driver that starts runs is ended before them"""
    experiments = (lock.parent for kind in EXPERIMENTS for lock in runs.glob(f"{kind}/*/driver.lock"))
    return [*sorted(experiments), *run_folders(runs)]


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


def orphans(root: Path) -> list[Orphans]:
    """What still runs of each Ray that a process of the checkout `root` started and did not outlive.

    A cluster that was started to stay has no such owner, so it is left alone.
    """
    found: dict[Owner, list[psutil.Process]] = defaultdict(list)
    for process in psutil.process_iter():
        try:
            owner = owner_of(process)
        except psutil.Error:  # gone meanwhile, or another user's
            continue
        if owner is not None and owner.root == root.resolve():
            found[owner].append(process)
    gone = [owner for owner in found if not owner.is_alive()]
    return [Orphans(owner.pid, tuple(found[owner])) for owner in sorted(gone, key=lambda owner: owner.started)]
