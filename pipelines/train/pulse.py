"""What a training and the process that started it tell each other while it runs: its position, and that it should end.

About once a second, rank 0 tells the Board where it is and learns whether to end; all ranks learn it after the same
step.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from stylegan.distributed import broadcast_, rank, world_size

BEAT_SEC = 1.0
ANSWER_SEC = 5.0  # that rank 0 waits for the board, once: without an answer it asks no more
MOST_STEPS = 1000  # between two beats


@dataclass(frozen=True)
class Position:
    """Where a training is."""

    nimg: int | None  # None until the workers have begun
    starts: tuple[int, ...]  # images at which workers began or resumed
    lines: tuple[str, ...] = ()  # that workers have to say
    num_workers: int = 1


class Board:
    """An actor next to the process that starts a training; see the head of this file."""

    def __init__(self) -> None:
        self._nimg: int | None = None
        self._starts: list[int] = []
        self._lines: list[str] = []
        self._num_workers = 1
        self._should_end = self._should_regroup = False

    def begin(self, nimg: int, num_workers: int = 1) -> None:
        """Workers begin, or resume."""
        self._nimg, self._num_workers = nimg, num_workers
        self._should_regroup = False
        self._starts.append(nimg)

    def beat(self, nimg: int) -> bool:
        """Rank 0 has trained on nimg images; returns whether it should end."""
        self._nimg = nimg
        return self._should_end or self._should_regroup

    def ask_to_end(self) -> None:
        """Have training save its state and end after the next step or two."""
        self._should_end = True

    def ask_to_regroup(self) -> None:
        """Have these workers do the same, so that more of them begin."""
        self._should_regroup = True

    def say(self, line: str) -> None:
        """Have a line shown, once however often it is said."""
        if line not in self._lines:
            self._lines.append(line)

    def read(self) -> Position:
        return Position(self._nimg, tuple(self._starts), tuple(self._lines), self._num_workers)


@contextmanager
def board() -> Iterator[Any]:
    """A Board on this node of the connected Ray while the block runs"""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    actor = ray.remote(num_cpus=0, max_restarts=-1, scheduling_strategy=here)(Board).remote()
    try:
        yield actor
    finally:
        if ray.is_initialized():
            ray.kill(actor)


class Pulse:
    """One rank's side; without a board, as in tests of a worker alone, nobody asks it to end."""

    def __init__(self, board: Any, nimg: int, device: torch.device) -> None:
        self._board, self._device = board, device
        self._steps = self._steps_left = 1
        self._last = time.monotonic()
        if board is not None and rank() == 0:
            board.begin.remote(nimg, world_size())

    def should_end(self, nimg: int) -> bool:
        """Whether training should end after this step; every rank has to ask after every step."""
        self._steps_left -= 1
        if self._steps_left > 0:
            return False
        answer = torch.tensor(self._beat(nimg) if rank() == 0 else [0, 0], device=self._device)
        broadcast_([answer])
        should_end, self._steps = answer.tolist()
        self._steps_left = self._steps
        return bool(should_end)

    def _beat(self, nimg: int) -> list[int]:
        """Whether to end, and the number of steps to the next beat"""
        now = time.monotonic()
        sec_per_step = max(now - self._last, 1e-6) / self._steps
        self._last = now
        steps = min(max(round(BEAT_SEC / sec_per_step), 1), 4 * self._steps, MOST_STEPS)
        return [int(self._ask(nimg)), steps]

    def _ask(self, nimg: int) -> bool:
        if self._board is None:
            return False
        try:
            return bool(ray.get(self._board.beat.remote(nimg), timeout=ANSWER_SEC))
        except (ray.exceptions.RayError, TimeoutError):
            self._board = None
            return False
