"""The tick log of a run: written where Ray controls it, followed where the stage runs.

One JSON object a line. A tick that is replayed after a resume is not written twice, so the log of a run that was killed
and resumed has the same ticks as that of an uninterrupted one. A store holds a copy, for a run that is resumed from
another machine.
"""

import csv
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.train import Checkpoint, UserCallback
from rich.console import Console
from rich.live import Live

from pipelines import store
from pipelines.alarms import Alarm, alarms
from pipelines.journal import Journal
from pipelines.params import Params
from pipelines.ranks import Row as Row
from pipelines.ranks import kernels, merged, nodes, slow_rank, spoken
from pipelines.recording import record_tick
from stylegan.files import replacing

logger = logging.getLogger(__name__)

LOG = "ticks.jsonl"
SAMPLES = "samples.png"  # in every snapshot
LEAVING = "leaving"  # begins the names of checkpoints that are no snapshots
NODES = "nodes.json"  # of the ranks at the last tick
KERNELS = "kernels.txt"  # the line on the kernels of rank 0's device, if it has any
FAILURES = "failures.jsonl"  # one failure of a worker a line
POLL_SEC = 0.5


class TickLog(UserCallback):
    """Appends a row of the ranks' reports to ticks.jsonl, keeps the pictures of each snapshot, and notes failures.

    url: of the run on a store, which gets a copy of the log; None without a store.
    """

    def __init__(self, folder: Path, url: str | None) -> None:
        self.folder, self.url = folder, url

    def after_report(self, run_context: Any, metrics: list[Row], checkpoint: Checkpoint | None) -> None:
        if checkpoint is not None and Path(checkpoint.path).name.startswith(LEAVING):
            return  # its tick has been reported
        row = merged(metrics)
        if found := nodes(metrics):
            with replacing(self.folder / NODES) as temporary:
                temporary.write_text(json.dumps(found))
        if line := kernels(metrics):
            with replacing(self.folder / KERNELS) as temporary:
                temporary.write_text(line)
        if checkpoint is not None:
            store.copy_out(checkpoint, SAMPLES, self.folder / "samples" / f"{row['nimg']:09.0f}.png")
        rows = read(self.folder)
        if not rows or row["nimg"] > rows[-1]["nimg"]:
            with replacing(self.folder / LOG) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in [*rows, row]))
        if self.url is not None:
            try:
                store.upload(self.folder / LOG, store.join(self.url, LOG))
            except store.StoreError as error:  # the next tick sends the whole log again
                logger.warning("copy of the tick log: %s", error)

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        with (self.folder / FAILURES).open("a") as file:
            for rank, error in sorted(worker_exceptions.items()):
                file.write(json.dumps({"rank": rank, "time": time.time(), "error": spoken(rank, error)}) + "\n")


def read(folder: Path) -> list[Row]:
    """Ticks of a run so far, oldest first"""
    path = folder / LOG
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def restore(folder: Path, url: str) -> None:
    """Take the log from the store where it is ahead of the one here: the run was trained on another machine.

    Raises StoreError.
    """
    content = store.read(store.join(url, LOG))
    if content is not None and content.count(b"\n") > len(read(folder)):
        with replacing(folder / LOG) as temporary:
            temporary.write_bytes(content)


def read_failures(folder: Path) -> list[str]:
    """Failures of workers so far, oldest first"""
    path = folder / FAILURES
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["error"] for line in lines if line.endswith("\n")]


def read_nodes(folder: Path) -> list[str]:
    """Node of each rank at the last tick"""
    path = folder / NODES
    return list(json.loads(path.read_text())) if path.exists() else []


def read_kernels(folder: Path) -> str | None:
    """The line on the kernels of rank 0's device, once there is one"""
    path = folder / KERNELS
    return path.read_text() if path.exists() else None


def write_csv(rows: list[Row], path: Path) -> None:
    """Write the log as a table; a statistic that a tick lacks leaves its cell empty."""
    first = ["nimg", "kimg", "sec", "sec_per_kimg", "memory_gb"]
    found = {name for row in rows for name in row if not name.startswith("system/")}  # which is for the tracker
    names = [*first, *sorted(found - set(first))]
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@contextmanager
def following(folder: Path, journal: Journal, params: Params) -> Iterator[None]:
    """Show and record every tick of a run while the block runs."""
    done = threading.Event()
    console = Console()
    view = Live(console=console, auto_refresh=False) if console.is_terminal else None
    told: set[str] = set()
    shown = failed = 0
    (folder / KERNELS).unlink(missing_ok=True)  # of an earlier process, perhaps on another device

    def catch_up(fresh: bool) -> None:
        nonlocal shown, failed
        if KERNELS not in told and (line := read_kernels(folder)):
            told.add(KERNELS)
            journal.tags({"kernels": line})
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        failures = read_failures(folder)
        for failure in failures[failed:] if fresh else []:
            console.print(f"{failure}\nTraining goes on from the last snapshot.", markup=False, soft_wrap=True)
        failed = len(failures)
        rows = read(folder)
        for row in rows[shown:]:
            _record(row, folder, journal, params, fresh)
            if fresh:
                _show(row, params, view)
        slow = slow_rank(rows, read_nodes(folder))
        for alarm in [*alarms(rows, params), *([] if slow is None else [slow])] if len(rows) > shown else []:
            if alarm.name not in told:
                told.add(alarm.name)
                _tell(alarm, journal, console, fresh)
        shown = len(rows)

    def loop() -> None:
        while not done.wait(POLL_SEC):
            catch_up(fresh=True)

    catch_up(fresh=False)
    thread = threading.Thread(target=loop, name="ticks", daemon=True)
    if view:
        view.start()
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        catch_up(fresh=True)
        if view:
            view.stop()


def _record(row: Row, folder: Path, journal: Journal, params: Params, fresh: bool) -> None:
    nimg = round(row["nimg"])
    values = {name: value for name, value in row.items() if name not in ("nimg", "kimg")}
    if fresh:
        record_tick(journal, nimg, values, params.tracking)
    else:  # the load of the machine belongs to the time when the tick happened
        journal.metrics(nimg, values)
    samples = folder / "samples" / f"{nimg:09d}.png"
    if samples.exists():
        journal.image("samples", nimg, samples.read_bytes())


def _show(row: Row, params: Params, view: Live | None) -> None:
    minutes, seconds = divmod(max(round((params.train.total_kimg - row["kimg"]) * row["sec_per_kimg"]), 0), 60)
    r = "r_v" if "augment/r_v" in row else "r_t"
    text = (
        f"kimg {row['kimg']:.1f}/{params.train.total_kimg:g}  {minutes}m{seconds:02d}s left  "
        f"{row['sec_per_kimg']:.2f} s/kimg  p {row['augment/p']:.3f}  {r} {row.get(f'augment/{r}', float('nan')):.2f}  "
        f"loss G {row.get('loss/G', float('nan')):.2f} D {row.get('loss/D', float('nan')):.2f}  "
        f"{row['memory_gb']:.2f} GB"
    )
    if view:
        view.update(text, refresh=True)
    else:
        print(text, flush=True)


def _tell(alarm: Alarm, journal: Journal, console: Console, fresh: bool) -> None:
    """Record an alarm, and show it if it is not from before this process."""
    journal.tags({f"alarm/{alarm.name}": alarm.text})
    if fresh:
        console.print(f"alarm {alarm.text}", highlight=False, soft_wrap=True)
