"""Who does what where several ranks measure together, and how it comes together again.

Batches go round the ranks, so they hold the same images whatever the number of ranks.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from stylegan.distributed import all_gather, gather, rank, world_size
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.evaluation.sampling import batches

R = TypeVar("R")


def own_batches(count: int, batch_size: int) -> Iterator[range]:
    """This rank's share of 0 .. count-1 in batches"""
    return itertools.islice(batches(count, batch_size), rank(), None, world_size())


def gather_rows(pieces: Sequence[Tensor], dst: int | None) -> Tensor | None:
    """One piece [n, ...] for each of own_batches  ->  all pieces in the order of images

    On rank dst, and None on the others; on every rank where dst is None.
    """
    mine = [piece.cpu() for piece in pieces]
    shares = all_gather(mine) if dst is None else gather(mine, dst)
    rounds = itertools.zip_longest(*shares)
    found = [piece for pieces_of_ranks in rounds for piece in pieces_of_ranks if piece is not None]
    return torch.cat(found) if found else None


def in_turn(tasks: Mapping[str, Callable[[], R]]) -> list[R]:
    """Results of tasks by name, each done by the rank whose turn it is (turn_of)  ->  in order on rank 0, else nothing

    Raises MetricError, on rank 0 and when all ranks are done, that names the first task which failed.
    """
    mine = {t: _attempt(task) for t, task in enumerate(tasks.values()) if turn_of(t) == rank()}
    found = {t: outcome for share in gather(mine, dst=0) for t, outcome in share.items()}
    results = []
    for t, outcome in sorted(found.items()):
        if isinstance(outcome, MetricError):
            raise MetricError(f"{list(tasks)[t]}: {outcome}")
        results.append(outcome)
    return results


def turn_of(task: int) -> int:
    """The rank that does the task of this number"""
    return task % world_size()


def _attempt(task: Callable[[], R]) -> R | MetricError:
    try:
        return task()
    except MetricError as error:  # raised here, it would leave the other ranks waiting
        return error
