"""SIGKILL at random moments of a worker, its controller, the driver, dvc, a node, a trial; all end as if undisturbed.

    python -m benchmarks.faults [--kills 30] [--seed 0] [--kinds worker,controller,driver,dvc]
    python -m benchmarks.faults --kinds node --kills 6
    python -m benchmarks.faults --kinds trial,sweep --kills 6

A tiny run of two processes in a folder of its own. It is hit again and again, and the same command is given until it
ends; then the next one starts from nothing, until all kills are spent. Nothing outside of the folder is touched. A node
is the raylet of one of three, on a Ray cluster of its own, with all that it started; another one joins in its place.
A sweep has two trials at once. With one kill in ten, the newest snapshot is damaged too: a file of it is cut, or a byte
of it changed.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.faults.project import PAUSE_SEC, Project, finish, on_cluster
from benchmarks.faults.sweeps import SweepProject

KINDS = ("worker", "controller", "driver", "dvc")
# A node is killed on a cluster, a trial in a sweep, the others in a training on this machine.
PROJECTS: dict[tuple[str, ...], Callable[[Path], Project]] = {
    KINDS: Project, ("node",): on_cluster, ("trial", "sweep"): SweepProject,
}  # fmt: skip
COMMANDS = ("driver", "dvc", "sweep")  # after which the command is given again
DAMAGE_EVERY = 10  # kills
SPARED = "dvc"  # the trainer of a killed dvc goes on, and reads no snapshot


def hit(project: Project, process: "subprocess.Popen[str]", kind: str, delay_sec: float) -> bool:
    """SIGKILL after delay_sec from now; False when the command ended before it came to that"""
    end = time.monotonic() + delay_sec
    while process.poll() is None:
        if time.monotonic() >= end and project.strike(kind, process):
            return True
        time.sleep(0.1)
    return False


def main() -> None:
    """Command line"""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument(
        "--limit", type=float, default=300, metavar="SEC", help="time limit of one run after its last kill"
    )
    given = parser.parse_args()
    makes = [make for kinds, make in PROJECTS.items() if set(given.kinds.split(",")) <= set(kinds)]
    if not makes:
        parser.error(f"--kinds {given.kinds}: expected some of one of {'; '.join(map(','.join, PROJECTS))}")
    with tempfile.TemporaryDirectory(prefix="faults") as folder:
        project = makes[0](Path(folder))
        start = time.monotonic()
        finish(project, project.start(), given.limit)
        undisturbed, span = project.outcome(), time.monotonic() - start
        print(f"undisturbed: {undisturbed['num_ticks']} ticks in {span:.0f} s", flush=True)
        same, damaged = all_hits(project, undisturbed, span, given)
        log = (project.folder / "log.txt").read_text()
    print("\nkind     kills   ended with the same state, ticks and recorded steps")
    for kind in given.kinds.split(","):
        kills = same[kind, True] + same[kind, False]
        print(f"{kind:8} {kills:5}   {same[kind, True]} of {kills}")
    failed = sum(count for (_, good), count in same.items() if not good)
    total = sum(same.values())
    print(f"all      {total:5}   {total - failed} of {total}; {time.monotonic() - start:.0f} s in all")
    said = log.count("damaged checkpoint nimg_")
    print(f"{len(damaged)} snapshots damaged ({', '.join(damaged)}); {said} lines say that one is not used")
    sys.exit(1 if failed else 0)


def all_hits(
    project: Project, undisturbed: dict[str, Any], span: float, given: argparse.Namespace
) -> "tuple[Counter[tuple[str, bool]], list[str]]":
    """Kills by kind and by whether their run ended as the undisturbed one, and files of snapshots that were damaged"""
    draw, kinds, damaged = random.Random(given.seed), given.kinds.split(","), list[str]()
    result: Counter[tuple[str, bool]] = Counter()
    while (spent := sum(result.values())) < given.kills:
        project.forget()
        hits: list[str] = []
        start, process = time.monotonic(), project.start()
        while spent + len(hits) < given.kills:
            kind = kinds[(spent + len(hits)) % len(kinds)]
            if not hit(project, process, kind, draw.uniform(0, span)):
                if process.returncode == 0:
                    break
                time.sleep(PAUSE_SEC)  # refused, while the trainer of a killed dvc is at work
                process = project.start()
                continue
            is_due = len(damaged) <= (spent + len(hits)) // DAMAGE_EVERY
            if is_due and kind != SPARED and (name := project.damage(draw)):
                damaged.append(name)
            hits.append(kind)
            if kind in COMMANDS:
                process.wait()
                process = project.start()
        again = finish(project, process, given.limit)
        good = project.outcome() == undisturbed
        result.update((kind, good) for kind in hits)
        told = "as the undisturbed run" if good else f"OTHERWISE: {project.outcome()} for {undisturbed}"
        seconds = time.monotonic() - start
        print(f"{', '.join(hits) or 'no kill'}: ended {told}, {seconds:.0f} s, {again} more start(s)", flush=True)
    return result, damaged


if __name__ == "__main__":
    # As Ctrl-C: end the run's processes with this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
