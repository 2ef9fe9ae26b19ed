"""What each rank says of itself at a tick, and the columns of the log that become of it.

A rank adds OWN to its report; Ray brings the reports of all ranks to its controller, where `merged` makes one row of
them, so that nothing is reduced for it. sec_per_kimg is of all ranks, which wait for each other in every step;
busy_sec_per_kimg is of one: what it takes for 1000 images of its own, without that waiting.
"""

import resource
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.train
import torch

from pipelines.artifacts.ticks import OWN, Ranks, TickRow
from pipelines.cluster.load import system_metrics
from pipelines.cluster.nodes import here
from stylegan.distributed import dealt, waited_sec

Report = dict[str, Any]  # what Ray carries: columns of the log, and under OWN the plain values of an Own


@dataclass(frozen=True)
class Own:
    """A rank's own part of its report."""

    node: str
    busy_sec_per_kimg: float
    memory_gb: float
    load: Mapping[str, float] = field(default_factory=dict)  # of the node, from one of its ranks
    kernels: str | None = None  # the line on the kernels of the device, if it has any


def own(sec: float, nimg: int, num_micro_batches: int, driver_node: str | None, kernels: str | None) -> Own:
    """This rank's part of a tick of `sec` seconds in which all ranks had nimg images.

    The first rank of each node but the driver's, which records its own, adds the load of that node; driver_node is
    None if no load is recorded.
    """
    share = nimg * len(dealt(num_micro_batches)) / num_micro_batches
    busy = max(sec - waited_sec(), 0.0) / share * 1000
    is_asked = driver_node not in (None, here()) and ray.train.get_context().get_local_rank() == 0
    return Own(here(), busy, memory_gb(), system_metrics() if is_asked else {}, kernels)


def memory_gb() -> float:
    """Highest so far, of this process on the GPU, or without one in RAM"""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def merged(reports: Sequence[Report]) -> TickRow:
    """Row of the log: rank 0's report, and of several ranks the extremes, the slowest and the load of their nodes"""
    row, ranks = TickRow.of(reports[0]), _own_parts(reports)
    if len(ranks) > 1:
        busy, memory = [each.busy_sec_per_kimg for each in ranks], [each.memory_gb for each in ranks]
        extremes = Ranks(
            count=len(ranks),
            busy_sec_per_kimg_min=min(busy),
            busy_sec_per_kimg_median=statistics.median_low(busy),
            busy_sec_per_kimg_max=max(busy),
            memory_gb_min=min(memory),
            memory_gb_max=max(memory),
            slowest=busy.index(max(busy)),
        )
        row = row.model_copy(update={"ranks": extremes})
    load = {
        f"{each.node.replace(':', '-')}/{name.removeprefix('system/')}": value
        for each in ranks
        for name, value in each.load.items()
    }
    return row.model_copy(update={"system": load}) if load else row


def nodes(reports: Sequence[Report]) -> list[str]:
    """Node of each rank"""
    return [each.node for each in _own_parts(reports)]


def kernels(reports: Sequence[Report]) -> str | None:
    """The line of rank 0 on the kernels of its device; None if it has none"""
    return next((each.kernels for each in _own_parts(reports[:1])), None)


def _own_parts(reports: Sequence[Report]) -> list[Own]:
    return [Own(**report[OWN]) for report in reports if OWN in report]
