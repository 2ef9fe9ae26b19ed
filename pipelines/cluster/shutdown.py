"""Ends what trains in this repository, and what Ray left of killed drivers; touches nothing else.

    python -m pipelines.stop [--list] [--grace SEC]

A run that is stopped loses the ticks since its last checkpoint; the command that started it resumes it.
"""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import psutil

from pipelines.cluster.processes import driver_folders, orphans, trainer_of
from pipelines.command_table import COMMANDS
from pipelines.params import ROOT
from stylegan.exit_codes import exit_code
from stylegan.wording import counted

RAY_GOES_SEC = 10.0  # that the Ray of a trainer may outlive it, before it is ended
POLL_SEC = 0.1


def stop(root: Path, grace_sec: float, say: Callable[[str], None]) -> None:
    """SIGTERM, and SIGKILL after grace_sec: first drivers of sweeps and ladders, then of runs, then orphans."""
    found = False
    for folder in driver_folders(root / "runs"):
        trainer = trainer_of(folder)
        if trainer is not None:
            found = True
            say(f"{folder.relative_to(root)}: {_ended(trainer, grace_sec)}. The same command resumes the run.")
    if found:
        _await_none(root)
    for left in orphans(root):
        found = True
        count, killed = len(left.processes), end(left.processes, grace_sec)
        how = f", {killed} of them by SIGKILL" if killed else ""
        ended = counted(count, "process", "processes")
        say(f"driver {left.driver_pid} is gone; ended {ended} of Ray that it left{how}.")
    if not found:
        say(f"Nothing trains in {root / 'runs'}, and Ray left no process of a killed driver.")


def show(root: Path, say: Callable[[str], None]) -> None:
    """What `stop` would end"""
    trainers = {folder: trainer_of(folder) for folder in driver_folders(root / "runs")}
    lines = [
        f"{folder.relative_to(root)}: process {process.pid} is training"
        for folder, process in trainers.items()
        if process is not None
    ]
    lines += [
        f"driver {left.driver_pid} is gone and left {counted(len(left.processes), 'process', 'processes')} of Ray"
        for left in orphans(root)
    ]
    for line in lines or [f"Nothing trains in {root / 'runs'}, and Ray left no process of a killed driver."]:
        say(line)


def _await_none(root: Path) -> None:
    """Let what a trainer left end by itself, as most of it does."""
    deadline = time.monotonic() + RAY_GOES_SEC
    while orphans(root) and time.monotonic() < deadline:
        time.sleep(POLL_SEC)


def _ended(process: psutil.Process, grace_sec: float) -> str:
    start = time.monotonic()
    if end([process], grace_sec):
        return f"process {process.pid} did not end within {grace_sec:g} s and was killed"
    return f"process {process.pid} ended after {time.monotonic() - start:.1f} s"


def end(processes: Iterable[psutil.Process], grace_sec: float) -> int:
    """Ask all to end, kill who has not after grace_sec, and return how many that were.

    psutil compares the start time first, so that a number that was used again is left alone.
    """
    asked = list(processes)
    _each(asked, psutil.Process.terminate)
    _, stubborn = psutil.wait_procs(asked, timeout=grace_sec)
    _each(stubborn, psutil.Process.kill)
    psutil.wait_procs(stubborn, timeout=grace_sec)
    return len(stubborn)


def _each(processes: list[psutil.Process], action: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        try:
            action(process)
        except psutil.NoSuchProcess:
            continue


@exit_code
def main(arguments: Sequence[str] | None = None) -> None:
    """Command line"""
    options = COMMANDS["stop"].parse(arguments)
    if options.list:
        show(ROOT, print)
    else:
        stop(ROOT, options.grace, print)


if __name__ == "__main__":
    sys.exit(main())
