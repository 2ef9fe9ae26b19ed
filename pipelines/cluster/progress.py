"""Progress of long work: a bar with the time left on a terminal, plain lines in a log."""

import math
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TypeVar

import ray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from pipelines.artifacts.ticks import TickRow
from stylegan.console import description_column, make_console
from stylegan.text import print_lines

T = TypeVar("T")
POLL_SEC = 0.5
SMOOTH_SEC = 300.0  # after which an observed speed counts a third
LEAST_SEC = 2.0  # of observation before there is a speed
UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def duration(sec: float) -> str:
    """The two largest units: "2 d 3 h", "3 h 20 min", "45 s" """
    left = max(round(sec), 0)
    for (unit, size), (below, smaller) in pairwise(UNITS):
        if left >= size:
            rest = left % size // smaller
            return f"{left // size} {unit} {rest} {below}" if rest else f"{left // size} {unit}"
    return f"{left} s"


def describe_costs(ticks: Sequence[TickRow]) -> str:
    """What a training took: "25 kimg in 4 min 5 s of training, 9.80 sec/kimg (median)"; interruptions do not count"""
    # A resumed run has slow ticks at each beginning.
    speed = statistics.median(tick.sec_per_kimg for tick in ticks if tick.sec_per_kimg is not None)
    sec = sum(tick.sec or 0.0 for tick in ticks)
    return f"{ticks[-1].kimg:g} kimg in {duration(sec)} of training, {speed:.2f} sec/kimg (median)"


class Speed:
    """Seconds per kimg by the clock, pauses for snapshots included; what is long past counts less.

    A position behind the last one, after a restart, begins a new observation and keeps the speed.
    """

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self._sec = self._nimg = 0.0

    def add(self, now: float, nimg: float) -> None:
        """At `now`, nimg images were done."""
        if self._last is not None and nimg >= self._last[1]:
            sec = now - self._last[0]
            keep = math.exp(-sec / SMOOTH_SEC)
            self._sec, self._nimg = self._sec * keep + sec, self._nimg * keep + nimg - self._last[1]
        self._last = now, nimg

    @property
    def sec_per_kimg(self) -> float | None:
        """None until there is something to tell it by"""
        return self._sec / self._nimg * 1000 if self._nimg > 0 and self._sec >= LEAST_SEC else None


def track(items: Iterable[T], total: int, what: str, size: Callable[[T], int] = lambda _: 1) -> Iterator[T]:
    """Pass items on, showing how many of `total` images they were; `size` counts the images of an item."""
    console = make_console()
    if console.is_terminal:
        columns = description_column(), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(what, total=total)
            for item in items:
                yield item
                bar.advance(task, size(item))
        return
    start, done = time.monotonic(), 0
    for item in items:
        yield item
        before, done = done, done + size(item)
        if done * 10 // total > before * 10 // total:
            left = (time.monotonic() - start) * (total - done) / done
            print_lines(f"{what} {done}/{total} images, {duration(left)} left")


class Counter:
    """What each worker has done so far, and lines that they say; a worker that begins again counts again from 0."""

    def __init__(self) -> None:
        self._done: dict[int | str, int] = {}
        self._lines: list[str] = []

    def say(self, line: str) -> None:
        """Have a line shown, once however often it is said."""
        if line not in self._lines:
            self._lines.append(line)

    def lines(self) -> list[str]:
        """Said so far"""
        return self._lines

    def report(self, worker: int | str, done: int) -> None:
        """Set how much a worker has done."""
        self._done[worker] = done

    def done(self) -> dict[int | str, int]:
        """By each worker"""
        return self._done

    def total(self) -> int:
        """Done by all workers"""
        return sum(self._done.values())


@contextmanager
def counting(total: int, what: str) -> Iterator[Any]:
    """Show the progress of workers, and what they say, while the block runs; yields the Counter, their actor."""
    counter = ray.remote(num_cpus=0)(Counter).remote()
    done = threading.Event()

    def steps() -> Iterator[int]:
        seen, shown, is_last = 0, 0, False
        while not is_last:
            is_last = done.wait(POLL_SEC)
            now, lines = ray.get([counter.total.remote(), counter.lines.remote()])
            for line in lines[shown:]:
                print_lines(line)  # above the bar, which catches what is printed
            yield now - seen
            seen, shown = now, len(lines)

    def follow() -> None:
        for _ in track(steps(), total, what, size=int):
            pass

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    thread.start()
    try:
        yield counter
    finally:
        done.set()
        thread.join()
