"""Shows and records every tick of a run while it trains, where the stage runs."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live

from pipelines.artifacts import ticks
from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis.alarms import alarms
from pipelines.diagnosis.stragglers import slow_rank
from pipelines.params import Params
from pipelines.tracking.journal import Journal
from pipelines.tracking.recording import record_tick
from pipelines.train.ticklog import KERNELS, read_failures_from, read_kernels, read_nodes

POLL_SEC = 0.5


@contextmanager
def following(folder: Path, journal: Journal, params: Params) -> Iterator[None]:
    """Show and record every tick of a run while the block runs."""
    done = threading.Event()
    console = Console()
    view = Live(console=console, auto_refresh=False) if console.is_terminal else None
    (folder / KERNELS).unlink(missing_ok=True)  # of an earlier process, perhaps on another device
    follower = Follower(folder, journal, params, console, view)

    def loop() -> None:
        while not done.wait(POLL_SEC):
            follower.catch_up(fresh=True)

    follower.catch_up(fresh=False)
    thread = threading.Thread(target=loop, name="ticks", daemon=True)
    if view:
        view.start()
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        follower.catch_up(fresh=True)
        if view:
            view.stop()


class Follower:
    """Reads what a run has logged since it last looked; `fresh` says that it happened while this process was there."""

    def __init__(self, folder: Path, journal: Journal, params: Params, console: Console, view: Live | None) -> None:
        self.folder, self.journal, self.params, self.console, self.view = folder, journal, params, console, view
        self.rows: list[TickRow] = []
        self._told: set[str] = set()
        self._log_offset = self._failures_offset = 0  # bytes of each file that have been read

    def catch_up(self, *, fresh: bool) -> None:
        """Show and record what is new."""
        if KERNELS not in self._told and (line := read_kernels(self.folder)):
            self._told.add(KERNELS)
            self.journal.tags({"kernels": line})
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
        failures, self._failures_offset = read_failures_from(self.folder, self._failures_offset)
        for failure in failures:
            if fresh:
                text = f"{failure}\nTraining goes on from the last snapshot."
                self.console.print(text, markup=False, soft_wrap=True)
        rows, self._log_offset = ticks.read_from(self.folder, self._log_offset)
        for row in rows:
            _record(row, self.folder, self.journal, self.params, fresh)
            if fresh:
                _show(row, self.params, self.view)
        self.rows += rows
        if rows:
            self._warn(fresh)

    def _warn(self, fresh: bool) -> None:
        """Record each alarm once, and show it if it is not from before this process."""
        slow = slow_rank(self.rows, read_nodes(self.folder))
        for alarm in [*alarms(self.rows, self.params), *([] if slow is None else [slow])]:
            if alarm.name in self._told:
                continue
            self._told.add(alarm.name)
            self.journal.tags({f"alarm/{alarm.name}": alarm.text})
            if fresh:
                self.console.print(f"alarm {alarm.text}", highlight=False, soft_wrap=True)


def _record(row: TickRow, folder: Path, journal: Journal, params: Params, fresh: bool) -> None:
    nimg = round(row.nimg)
    if fresh:
        record_tick(journal, row, params.tracking)
    else:  # the load of the machine belongs to the time when the tick happened
        journal.metrics(nimg, row.series)
    samples = folder / "samples" / f"{nimg:09d}.png"
    if samples.exists():
        journal.image("samples", nimg, samples.read_bytes())


def _show(row: TickRow, params: Params, view: Live | None) -> None:
    sec_per_kimg = row.sec_per_kimg or 0.0
    minutes, seconds = divmod(max(round((params.train.total_kimg - row.kimg) * sec_per_kimg), 0), 60)
    r_t, r_v, loss = row.augment.r_t, row.augment.r_v, row.loss
    text = (
        f"kimg {row.kimg:.1f}/{params.train.total_kimg:g}  {minutes}m{seconds:02d}s left  "
        f"{sec_per_kimg:.2f} s/kimg  p {_or_nan(row.augment.p):.3f}  "
        f"{'r_t' if r_v is None else 'r_v'} {_or_nan(r_t if r_v is None else r_v):.2f}  "
        f"loss G {_or_nan(loss.G):.2f} D {_or_nan(loss.D):.2f}  {_or_nan(row.memory_gb):.2f} GB"
    )
    if view:
        view.update(text, refresh=True)
    else:
        print(text, flush=True)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
