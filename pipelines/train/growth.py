"""More workers in mid-training: when a node joins, training saves its state after a step and begins again with them.

Ray Train would end the workers at any moment, and the steps since the last checkpoint with them.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

from pipelines.cluster import capacity
from pipelines.cluster.background import repeating
from pipelines.cluster.connection import address_of
from pipelines.cluster.progress import duration
from pipelines.params import ClusterConfig
from pipelines.train.pulse import ANSWER_SEC
from stylegan.text import print_lines

RESIZE_SEC = 60.0  # between looks for room; there has to be some twice, for a group may only be starting
# From one beginning with more workers to the next: that costs about a minute, and a node that comes and goes could ask
# for it without end.
REST_SEC = 1800.0
# A Ray that ends, reconnects or is busy; it raises RuntimeError where it has no client.
RAY_IS_AWAY = (ray.exceptions.RayError, RuntimeError, ConnectionError, TimeoutError)


class Growth:
    """Asks workers to end for more of them, in all attempts of a training."""

    def __init__(self, cluster: ClusterConfig, board: Any, say: Callable[[str], object] = print_lines) -> None:
        self._cluster, self._board, self._say = cluster, board, say
        self._last = -math.inf
        self._had_room = self._has_told = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look for room while the block runs, if cluster.num_workers allows for more workers."""
        if self._cluster.min_workers == self._cluster.max_workers or address_of(self._cluster) is None:
            yield
            return
        self._had_room = False
        with repeating("growth", RESIZE_SEC, self.look):
            yield

    def look(self) -> None:
        """Ask the workers to end if there is room for the second time in turn, and they have not done so lately."""
        had_room, self._had_room = self._had_room, False
        try:
            self._had_room = could_grow(self._cluster, self._board)
            if had_room and self._had_room:
                self._ask_or_wait()
        except RAY_IS_AWAY:  # the next look may succeed
            pass

    def _ask_or_wait(self) -> None:
        left = self._last + REST_SEC - time.monotonic()
        if left <= 0:
            self._board.ask_to_regroup.remote()
            self._last, self._has_told, self._had_room = time.monotonic(), False, False
        elif not self._has_told:
            self._has_told = True
            self._say(
                f"there is room for more workers again; they begin in {duration(left)}, as training has begun again "
                f"with more of them less than {duration(REST_SEC)} ago"
            )


def could_grow(cluster: ClusterConfig, board: Any) -> bool:
    """Whether fewer workers train than may, and there is room for another"""
    position = ray.get(board.read.remote(), timeout=ANSWER_SEC)
    trains_with_fewer = position.nimg is not None and position.num_workers < cluster.max_workers
    return bool(trains_with_fewer and capacity.has_room_for_another(cluster))
