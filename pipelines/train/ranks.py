"""What each rank says of itself at a tick, and the columns of the log that become of it.

A rank adds OWN to its report; Ray brings the reports of all ranks to its controller, where `merged` makes one row of
them, so that nothing is reduced for it. sec_per_kimg is of all ranks, which wait for each other in every step;
busy_sec_per_kimg is of one: what it takes for 1000 images of its own, without that waiting.
"""

import resource
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import ray
import ray.train
import torch

from pipelines.artifacts.ticks import Row
from pipelines.cluster.load import system_metrics
from pipelines.cluster.nodes import here
from stylegan.distributed import dealt, waited_sec

OWN = "own"  # key of a rank's own part in its report


def own(sec: float, nimg: int, num_micro_batches: int, driver_node: str | None) -> dict[str, Any]:
    """This rank's part of a tick of `sec` seconds in which all ranks had nimg images.

    The first rank of each node but the driver's, which records its own, adds the load of that node; driver_node is
    None where no load is recorded.
    """
    share = nimg * len(dealt(num_micro_batches)) / num_micro_batches
    busy = max(sec - waited_sec(), 0.0) / share * 1000
    found: dict[str, Any] = {"node": here(), "busy_sec_per_kimg": busy, "memory_gb": memory_gb()}
    if driver_node not in (None, here()) and ray.train.get_context().get_local_rank() == 0:
        found["load"] = system_metrics()
    return found


def memory_gb() -> float:
    """Highest so far, of this process on the GPU, or without one in RAM"""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def merged(reports: Sequence[Mapping[str, Any]]) -> Row:
    """Row of the log: rank 0's report, and of several ranks the extremes, the slowest and the load of their nodes"""
    row: Row = {key: value for key, value in reports[0].items() if key != OWN}
    ranks = [report[OWN] for report in reports if OWN in report]
    if len(ranks) > 1:
        busy, memory = ([each[key] for each in ranks] for key in ("busy_sec_per_kimg", "memory_gb"))
        row |= {
            "ranks/count": len(ranks),
            "ranks/busy_sec_per_kimg_min": min(busy),
            "ranks/busy_sec_per_kimg_median": statistics.median_low(busy),
            "ranks/busy_sec_per_kimg_max": max(busy),
            "ranks/memory_gb_min": min(memory),
            "ranks/memory_gb_max": max(memory),
            "ranks/slowest": busy.index(max(busy)),
        }
    for each in ranks:
        node = each["node"].replace(":", "-")
        row |= {key.replace("system/", f"system/{node}/"): value for key, value in each.get("load", {}).items()}
    return row


def nodes(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """Node of each rank"""
    return [report[OWN]["node"] for report in reports if OWN in report]


def kernels(reports: Sequence[Mapping[str, Any]]) -> str | None:
    """The line of rank 0 on the kernels of its device; None where it has none"""
    line: str | None = reports[0].get(OWN, {}).get("kernels")
    return line
