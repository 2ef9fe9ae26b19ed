"""The two questions distributed code asks, and what ranks tell each other; all no-ops when alone."""

import platform
import time
from collections.abc import Iterable
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

# Of every all-reduce since waited_sec() was asked: seconds, or two events that a GPU passes before and after it.
_waits: list[float | tuple[torch.cuda.Event, torch.cuda.Event]] = []


def rank() -> int:
    """Index of this process, 0 when alone"""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes, 1 when alone"""
    return dist.get_world_size() if dist.is_initialized() else 1


def num_ranks_here() -> int:
    """Processes on this machine, this one included; every rank has to ask"""
    return all_gather(platform.node()).count(platform.node())


def all_reduce_sum_(tensor: Tensor) -> Tensor:
    """Sum over ranks, in place"""
    if world_size() > 1 and tensor.is_cuda:  # the processor does not wait, and must not
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        dist.all_reduce(tensor)
        after.record()
        _waits.append((before, after))
    elif world_size() > 1:
        start = time.perf_counter()
        dist.all_reduce(tensor)
        _waits.append(time.perf_counter() - start)
    return tensor


def waited_sec() -> float:
    """Seconds in all_reduce_sum_ since the last call: the sums themselves, and waiting for slower ranks"""
    if _waits and not isinstance(_waits[-1], float):
        _waits[-1][1].synchronize()
    total = sum(wait if isinstance(wait, float) else wait[0].elapsed_time(wait[1]) / 1000 for wait in _waits)
    _waits.clear()
    return total


def all_reduce_mean_(tensor: Tensor, num_ranks: int | None = None) -> Tensor:
    """Mean over the first num_ranks ranks, all unless given, in place; the others give zeros"""
    return all_reduce_sum_(tensor).div_(num_ranks or world_size()) if world_size() > 1 else tensor


def dealt(count: int) -> range:
    """This rank's part of 0 .. count-1, in one piece; the first ranks have one more where it does not come out even"""
    each, left = divmod(count, world_size())
    start = rank() * each + min(rank(), left)
    return range(start, start + each + (rank() < left))


@torch.no_grad()
def broadcast_(tensors: Iterable[Tensor]) -> None:
    """Copy rank 0's values to every rank, in place"""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def gather(value: T, dst: int) -> list[T]:
    """Every rank's value in the order of ranks, on rank dst; nothing on the others"""
    if world_size() == 1:
        return [value]
    values: list[T] | None = [value] * world_size() if rank() == dst else None
    dist.gather_object(value, values, dst=dst)
    return values or []


def all_gather(value: T) -> list[T]:
    """Every rank's value in the order of ranks"""
    if world_size() == 1:
        return [value]
    values = [value] * world_size()
    dist.all_gather_object(values, value)
    return values
