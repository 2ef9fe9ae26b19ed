"""How far a sweep is: trials that have ended and that run, images trained on, and the time left."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import ray
from rich.live import Live
from rich.text import Text

from pipelines.cluster.background import repeating
from pipelines.cluster.progress import Counter, Speed, duration
from stylegan.console import make_console
from stylegan.wording import counted

POLL_SEC = 1.0
ANSWER_SEC = 5.0  # that a poll waits for the counter


class Standing:
    """What the driver knows of its trials, by the names that describe them."""

    def __init__(self, num_trials: int, total_kimg: float) -> None:
        self.num_trials, self.total_kimg = num_trials, total_kimg
        self.running: set[str] = set()
        self.over: set[str] = set()
        self._done: Mapping[str, int] = {}  # images of each trial that has told of some
        self._speed = Speed()

    def began(self, trial: str) -> None:
        self.running.add(trial)

    def ended(self, trial: str) -> None:
        self.running.discard(trial)
        self.over.add(trial)

    def look(self, now: float, done: Mapping[str, int]) -> None:
        """At `now`, trials have trained on so many images; a trial that begins again counts from there."""
        self._done = done
        self._speed.add(now, sum(done.values()))

    def line(self) -> str:
        """3 of 12 trials done, 2 running, 1 h 20 min left"""
        text = f"{len(self.over)} of {counted(self.num_trials, 'trial')} done, {len(self.running)} running"
        if (speed := self._speed.sec_per_kimg) is None:
            return text
        under_way = sum(nimg for trial, nimg in self._done.items() if trial not in self.over) / 1000
        left = max((self.num_trials - len(self.over)) * self.total_kimg - under_way, 0)
        return f"{text}, about {duration(left * speed)} of training left"


@contextmanager
def watching(standing: Standing) -> Iterator[Any]:
    """Keep a standing up to date while the block runs, on a terminal in a moving line; yields the trials' Counter."""
    counter = ray.remote(num_cpus=0)(Counter).remote()
    console = make_console()
    view = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def look() -> None:
        try:
            standing.look(time.monotonic(), ray.get(counter.done.remote(), timeout=ANSWER_SEC))
        except (ray.exceptions.RayError, TimeoutError):  # of a Ray that ends
            return
        if view:
            view.update(Text(standing.line(), no_wrap=True, overflow="ellipsis"), refresh=True)

    with view or nullcontext(), repeating("standing", POLL_SEC, look):
        yield counter
