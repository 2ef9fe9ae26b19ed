"""Shows and records a run while it trains, where the stage runs: a line that moves on a terminal, and every tick."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipelines.artifacts import ticks
from pipelines.artifacts.ticks import TickRow
from pipelines.cluster.background import repeating
from pipelines.cluster.progress import Speed, duration
from pipelines.diagnosis.alarms import Watch
from pipelines.diagnosis.stragglers import slow_rank
from pipelines.diagnosis.thresholds import SLOW_TICKS
from pipelines.params import Params
from pipelines.tracking.journal import Journal
from pipelines.tracking.recording import record_tick
from pipelines.train.pulse import Position
from pipelines.train.ticklog import KERNELS, read_kernels, read_nodes
from stylegan.console import make_console

POLL_SEC = 0.5
ANSWER_SEC = 5.0  # that a poll waits for the board


@dataclass(frozen=True)
class Place:
    """Which of several runs this one is: row 2 of 4."""

    number: int
    count: int


@contextmanager
def following(
    folder: Path, journal: Journal, params: Params, board: Any = None, place: Place | None = None,
    tell: Callable[[int], None] | None = None,
) -> Iterator[None]:  # fmt: skip
    """Show and record a run while the block runs, and tell its position; without a board it shows ticks only."""
    console = make_console()
    view = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
    (folder / KERNELS).unlink(missing_ok=True)  # of an earlier process, perhaps on another device
    follower = Follower(folder, journal, params, console, view, place)

    def read_position() -> None:
        if (position := _read(board)) is not None:
            follower.look_at(position)
            if tell is not None and position.nimg is not None:
                tell(position.nimg)

    def look() -> None:
        for part in (partial(follower.catch_up, fresh=True), read_position):
            try:
                part()
            except Exception as error:  # what shows and records a training never ends it
                follower.excuse(error)

    follower.catch_up(fresh=False)
    with view or nullcontext():
        try:
            with repeating("ticks", POLL_SEC, look):
                yield
        finally:
            try:
                follower.catch_up(fresh=True)
            except OSError as error:
                follower.excuse(error)


def _read(board: Any) -> Position | None:
    if board is None or not ray.is_initialized():
        return None
    try:
        position: Position = ray.get(board.read.remote(), timeout=ANSWER_SEC)
    except (ray.exceptions.RayError, TimeoutError):  # of a Ray that ends
        return None
    return position


class Follower:
    """Reads what a run has logged since it last looked; `fresh` says that it happened while this process was there."""

    def __init__(
        self, folder: Path, journal: Journal, params: Params, console: Console, view: Live | None,
        place: Place | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.journal, self.params, self.console, self.view = folder, journal, params, console, view
        self.place = place
        self._watch, self._last_rows = Watch(params), deque[TickRow](maxlen=SLOW_TICKS)
        self.speed = Speed()
        self._told: set[str] = set()
        self._num_starts = self._num_lines = 0
        self._log_offset = 0  # bytes of the log that have been read
        self._unrecorded = deque[TickRow]()

    def catch_up(self, *, fresh: bool) -> None:
        """Show and record what is new."""
        if KERNELS not in self._told and (line := read_kernels(self.folder)):
            self._told.add(KERNELS)
            self.journal.tags({"kernels": line})
            self._say(line)
        rows, self._log_offset = ticks.read_from(self.folder, self._log_offset)
        self._unrecorded.extend(rows)
        while self._unrecorded:
            row = self._unrecorded[0]  # it stays if it cannot be recorded now
            samples = _record(row, self.folder, self.journal, self.params, fresh)
            self._unrecorded.popleft()
            if fresh:
                self._show(row, samples)
            self._warn(row, fresh)

    def excuse(self, error: Exception) -> None:
        """Say once why a look failed; the next one tries again."""
        text = str(error).rstrip(".")
        line = f"warning: progress was not shown or recorded: {type(error).__name__}: {text}. Training continues."
        if line not in self._told:
            self._told.add(line)
            self._say(line)

    def look_at(self, position: Position) -> None:
        """Say where workers began, and what they say, since the last look, and move the line of the terminal."""
        for nimg in position.starts[self._num_starts :]:
            self._say(f"{'resuming' if nimg else 'starting'} from kimg {nimg / 1000:g}")
        self._num_starts = len(position.starts)
        for line in position.lines[self._num_lines :]:
            self._say(line)
        self._num_lines = len(position.lines)
        if position.nimg is not None:
            self.speed.add(time.monotonic(), position.nimg)
        if self.view:
            self.view.update(_one_line(self._status(position)), refresh=True)

    def _status(self, position: Position) -> str:
        if position.nimg is None:
            count = self.params.cluster.max_workers
            return f"waiting for Ray to start {count} worker{'s' if count > 1 else ''}"
        last = self._last_rows[-1].sec_per_kimg if self._last_rows else None
        return self._line(position.nimg, self.speed.sec_per_kimg or last)

    def _line(self, nimg: float, sec_per_kimg: float | None) -> str:
        """Position, time left and speed"""
        total, digits = self.params.train.total_kimg, 3 if self.params.train.tick_kimg < 0.1 else 1
        text = f"{self._prefix()}kimg {nimg / 1000:.{digits}f}/{total:g}"
        if sec_per_kimg is None:
            return text
        left = max(total - nimg / 1000, 0) * sec_per_kimg
        text += f"  {duration(left)} left  {sec_per_kimg:.4g} sec/kimg"
        if self.place and self.place.number < self.place.count:
            left += (self.place.count - self.place.number) * total * sec_per_kimg
            text += f"  all rows: {duration(left)} left"
        return text

    def _prefix(self) -> str:
        return f"row {self.place.number} of {self.place.count}  " if self.place else ""

    def _show(self, row: TickRow, samples: Path | None) -> None:
        """A line of the history"""
        parts = [self._line(row.nimg, self.speed.sec_per_kimg or row.sec_per_kimg)]
        adapts = ("r_t {:.2f}", row.augment.r_t) if row.augment.r_v is None else ("r_v {:.2f}", row.augment.r_v)
        for form, value in (("p {:.2f}", row.augment.p), adapts, ("G {:.2f}", row.loss.G), ("D {:.2f}", row.loss.D),
                            ("{:.1f} GB", row.memory_gb)):  # fmt: skip
            if value is not None:
                parts.append(form.format(value))
        line = _one_line("  ".join(parts))
        if self.view:
            self.console.print(line, no_wrap=True, overflow="ellipsis")
        else:
            self.console.print(line, soft_wrap=True)
        if samples is not None and "samples" not in self._told:
            self._told.add("samples")
            self._say(f"sample images: {os.path.relpath(samples)}, a new file at every snapshot")

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True)

    def _warn(self, row: TickRow, fresh: bool) -> None:
        """Record each alarm once, and show it if it is not from before this process."""
        found = self._watch.see(row)
        self._last_rows.append(row)
        slow = slow_rank([*self._last_rows], read_nodes(self.folder))
        for alarm in [*found, *([] if slow is None else [slow])]:
            if alarm.name in self._told:
                continue
            self._told.add(alarm.name)
            self.journal.tags({f"alarm/{alarm.name}": alarm.text})
            if fresh:
                self._say(f"alarm {alarm.text}")


def _one_line(text: str) -> Text:
    """Cut where the terminal ends"""
    return Text(text, no_wrap=True, overflow="ellipsis")


def _record(row: TickRow, folder: Path, journal: Journal, params: Params, fresh: bool) -> Path | None:
    """Record a tick, and return its sample images, if it is a snapshot."""
    nimg = round(row.nimg)
    if fresh:
        record_tick(journal, row, params.tracking)
    else:  # the load of the machine belongs to the time when the tick happened
        journal.metrics(nimg, row.series)
    samples = folder / "samples" / f"{nimg:09d}.png"
    if not samples.exists():
        return None
    journal.image("samples", nimg, samples.read_bytes())
    return samples
