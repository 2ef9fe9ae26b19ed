"""More workers in mid-training: when a node joins, training saves its state after a step and begins again with them.

Ray Train would end the workers at any moment, and the steps since the last checkpoint with them.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from pipelines.cluster import capacity
from pipelines.cluster.connection import address_of
from pipelines.params import ClusterConfig
from pipelines.train.pulse import ANSWER_SEC

RESIZE_SEC = 60.0  # between looks for room; there has to be some twice, for a group may only be starting


@contextmanager
def watching(cluster: ClusterConfig, board: Any) -> Iterator[None]:
    """Ask the workers to end for more of them while the block runs, if cluster.num_workers allows for that."""
    if cluster.min_workers == cluster.max_workers or address_of(cluster) is None:
        yield
        return
    done = threading.Event()

    def loop() -> None:
        had_room = False
        while not done.wait(RESIZE_SEC):
            try:
                has_room = could_grow(cluster, board)
                if had_room and has_room:
                    board.ask_to_regroup.remote()
            except (ray.exceptions.RayError, TimeoutError):  # of a Ray that ends, or is busy
                has_room = False
            had_room = has_room

    thread = threading.Thread(target=loop, name="growth", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def could_grow(cluster: ClusterConfig, board: Any) -> bool:
    """Whether fewer workers train than may, and there is room for another"""
    position = ray.get(board.read.remote(), timeout=ANSWER_SEC)
    trains_with_fewer = position.nimg is not None and position.num_workers < cluster.max_workers
    return bool(trains_with_fewer and capacity.has_room_for_another(cluster))
