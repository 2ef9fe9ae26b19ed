"""Shows and records every tick of a run while it trains, where the stage runs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from pipelines.artifacts import json_lines
from pipelines.artifacts.ticks import LOG, Row
from pipelines.diagnosis.alarms import alarms
from pipelines.diagnosis.stragglers import slow_rank
from pipelines.params import Params
from pipelines.tracking.journal import Journal
from pipelines.tracking.recording import record_tick
from pipelines.train.ticklog import FAILURES, KERNELS, read_kernels, read_nodes
from stylegan.commands.console import make_console

POLL_SEC = 0.5


@contextmanager
def following(folder: Path, journal: Journal, params: Params) -> Iterator[None]:
    """Show and record every tick of a run while the block runs."""
    done = threading.Event()
    console = make_console()
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
        self.rows: list[Row] = []
        self._told: set[str] = set()
        self._offsets = {LOG: 0, FAILURES: 0}  # bytes of each file that have been read

    def catch_up(self, *, fresh: bool) -> None:
        """Show and record what is new."""
        if KERNELS not in self._told and (line := read_kernels(self.folder)):
            self._told.add(KERNELS)
            self.journal.tags({"kernels": line})
            self.console.print(line, soft_wrap=True)
        for failure in self._news(FAILURES):
            if fresh:
                text = f"{failure['error']}\nTraining goes on from the last snapshot."
                self.console.print(text, soft_wrap=True)
        rows: list[Row] = self._news(LOG)
        for row in rows:
            _record(row, self.folder, self.journal, self.params, fresh)
            if fresh:
                _show(row, self.params, self.view)
        self.rows += rows
        if rows:
            self._warn(fresh)

    def _news(self, name: str) -> list[dict[str, Any]]:
        found = list(json_lines.read(self.folder / name, self._offsets[name]))
        if found:
            self._offsets[name] = found[-1][1]
        return [record for record, _ in found]

    def _warn(self, fresh: bool) -> None:
        """Record each alarm once, and show it if it is not from before this process."""
        slow = slow_rank(self.rows, read_nodes(self.folder))
        for alarm in [*alarms(self.rows, self.params), *([] if slow is None else [slow])]:
            if alarm.name in self._told:
                continue
            self._told.add(alarm.name)
            self.journal.tags({f"alarm/{alarm.name}": alarm.text})
            if fresh:
                self.console.print(f"alarm {alarm.text}", soft_wrap=True)


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
