"""The tick log of a run: written where Ray controls it, followed where the stage runs.

One JSON object a line. A tick that is replayed after a resume is not written twice, so the log of a run that was killed
and resumed has the same ticks as that of an uninterrupted one. A store holds a copy, for a run that is resumed from
another machine.
"""

import csv
import json
import logging
import threading
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
from pipelines.recording import record_tick
from stylegan.files import replacing

logger = logging.getLogger(__name__)

LOG = "ticks.jsonl"
SAMPLES = "samples.png"  # in every snapshot
POLL_SEC = 0.5

Row = dict[str, float]


class TickLog(UserCallback):
    """Appends rank 0's report to ticks.jsonl, and keeps the pictures of each snapshot.

    url: of the run on a store, which gets a copy of the log; None without a store.
    """

    def __init__(self, folder: Path, url: str | None) -> None:
        self.folder, self.url = folder, url

    def after_report(self, run_context: Any, metrics: list[Row], checkpoint: Checkpoint | None) -> None:
        row = metrics[0]
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


def write_csv(rows: list[Row], path: Path) -> None:
    """Write the log as a table; a statistic that a tick lacks leaves its cell empty."""
    first = ["nimg", "kimg", "sec", "sec_per_kimg", "memory_gb"]
    names = [*first, *sorted({name for row in rows for name in row} - set(first))]
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@contextmanager
def following(folder: Path, journal: Journal, params: Params) -> Iterator[None]:
    """Show and record every tick of a run while the block runs."""
    done = threading.Event()
    console = Console()
    view = Live(console=console, auto_refresh=False) if console.is_terminal else None
    told: set[str] = set()
    shown = 0

    def catch_up(fresh: bool) -> None:
        nonlocal shown
        rows = read(folder)
        for row in rows[shown:]:
            _record(row, folder, journal, params, fresh)
            if fresh:
                _show(row, params, view)
        for alarm in alarms(rows, params) if len(rows) > shown else []:
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
    text = (
        f"kimg {row['kimg']:.1f}/{params.train.total_kimg:g}  {minutes}m{seconds:02d}s left  "
        f"{row['sec_per_kimg']:.2f} s/kimg  p {row['augment/p']:.3f}  r_t {row.get('augment/r_t', float('nan')):.2f}  "
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
