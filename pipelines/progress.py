"""Progress of long work: a bar with the time left on a terminal, plain lines in a log."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")


def track(items: Iterable[T], total: int, what: str, size: Callable[[T], int] = lambda _: 1) -> Iterator[T]:
    """Pass items on, showing how many of `total` images they were; `size` counts the images of an item."""
    console = Console()
    if console.is_terminal:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
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
            print(f"{what} {done}/{total} images, {left:.0f} s left", flush=True)
