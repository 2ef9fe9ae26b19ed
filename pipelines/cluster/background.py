"""What a process looks at again and again while it does something else."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(name: str, pause_sec: float, look: Callable[[], object], *, at_once: bool = False) -> Iterator[None]:
    """Look after every pause, in a thread of this name, while the block runs; a look that has begun is waited for.

    at_once: also before the first pause.
    """
    done = threading.Event()

    def loop() -> None:
        if at_once:
            look()
        while not done.wait(pause_sec):
            look()

    thread = threading.Thread(target=loop, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
