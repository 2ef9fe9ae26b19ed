"""Whether there is room for the workers that are asked for: refused at once on one machine, waited for on a cluster."""

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group

from pipelines.cluster.background import repeating
from pipelines.cluster.connection import address_of
from pipelines.cluster.nodes import alive
from pipelines.params import ClusterConfig
from stylegan.config import ConfigError
from stylegan.wording import counted

WORKER_GB = 0.3  # the least that a worker takes before it has a network, measured (docs/scaling.md)
SAY_SEC = 30.0  # between lines while workers wait
SLICE_SEC = 1.0  # of waiting, after which Ctrl-C is heard

Resources = Mapping[str, float]


class CapacityError(ConfigError):
    """This machine has no room for the workers that are asked for; the message says what to do."""


def refuse_impossible(cluster: ClusterConfig, section: str = "cluster") -> None:
    """Compare what workers reserve with this machine, if they are to run here; no Ray is asked for that.

    section: whose settings say how many there are, cluster or sweep. Raises CapacityError.
    """
    if ray.is_initialized() or address_of(cluster) is not None:
        return
    workers, per_worker = cluster.min_workers, cluster.resources
    has = {"CPU": float(os.cpu_count() or 1), "GPU": 0.0, "memory": psutil.virtual_memory().total / 2**30}
    if per_worker.get("GPU", 0) > 0:
        has["GPU"] = float(num_gpus())
        needed = gpus_for(workers, per_worker["GPU"])
        if needed > has["GPU"]:
            raise CapacityError(_missing_gpus(workers, needed, has, section))
    if workers * WORKER_GB > has["memory"]:
        raise CapacityError(
            f"{_setting(section)} asks for {counted(workers, 'worker')} of at least {WORKER_GB} GB; this machine has "
            f"{spoken(has)}. Set it to at most {int(has['memory'] / WORKER_GB)}, or name a cluster in cluster.address."
        )


def num_gpus() -> int:
    """GPUs that torch sees here"""
    import torch  # deferred: it takes seconds, and only this question needs it

    return int(torch.cuda.device_count())


def gpus_for(workers: int, share: float) -> int:
    """Whole GPUs for workers of this share each; a share is of one GPU, so two of 0.6 need two"""
    return math.ceil(workers / math.floor(1 / share)) if share <= 1 else math.ceil(workers * share)


def _missing_gpus(workers: int, needed: int, has: Resources, section: str) -> str:
    import torch

    found = int(has["GPU"])
    asked, off = ("cluster.use_gpu is true", "cluster.use_gpu to false")
    if section == "sweep":
        asked, off = ("sweep.gpus_per_worker is above 0", "sweep.gpus_per_worker to 0")
    fewer = f"{_setting(section)} lower, or {off}" if found else off
    build = "" if found or torch.version.cuda or torch.version.hip else " (the installed torch is built without CUDA)"
    return (
        f"{asked}: {_amount(workers, 'worker')} of {_setting(section)} need {_amount(needed, 'GPU')}; this machine has "
        f"{spoken(has)}{build}. Set {fewer}, or name a cluster with GPUs in cluster.address."
    )


def _setting(section: str) -> str:
    return "cluster.num_workers" if section == "cluster" else "sweep.workers_per_trial"


def spoken(has: Resources) -> str:
    """{"CPU": 8, "GPU": 0} -> "0 GPUs, 8 CPUs" """
    text = f"{_amount(has.get('GPU', 0), 'GPU')}, {_amount(has.get('CPU', 0), 'CPU')}"
    return text + (f", {has['memory']:.1f} GB of memory" if "memory" in has else "")


def _amount(number: float, unit: str) -> str:
    return f"{number:.3g} {unit}{'' if number == 1 else 's'}"


def await_room(
    cluster: ClusterConfig, say: Callable[[str], None] = print, is_over: Callable[[], bool] = lambda: False,
    section: str = "cluster",
) -> None:  # fmt: skip
    """Wait until the connected cluster has room for the fewest workers, and say every half minute what it waits for.

    What is asked for stays asked for meanwhile, so that an autoscaler sees it. section: as in refuse_impossible.
    Raises CapacityError after cluster.wait_hours, and as soon as is_over() says that nobody needs the room.
    """
    if address_of(cluster) is None:
        return
    workers, per_worker = cluster.min_workers, cluster.resources
    group = placement_group([dict(per_worker)] * workers)
    try:
        start = said = time.monotonic()
        while not group.wait(SLICE_SEC):
            if time.monotonic() - start >= cluster.wait_hours * 3600:
                raise CapacityError(_too_long(cluster, section))
            if is_over():
                raise CapacityError("Asked to end before there was room.")
            if time.monotonic() - said >= (SAY_SEC if said > start else SLICE_SEC):
                say(waiting_line(workers, per_worker))
                said = time.monotonic()
    finally:
        remove_placement_group(group)


def has_room_for_another(cluster: ClusterConfig) -> bool:
    """Whether the connected cluster has room for one worker more"""
    group = placement_group([dict(cluster.resources)])
    try:
        return bool(group.wait(SLICE_SEC))
    finally:
        remove_placement_group(group)


def _too_long(cluster: ClusterConfig, section: str) -> str:
    return (
        f"cluster.wait_hours is {cluster.wait_hours:g}, for which there was no room. Last: "
        f"{waiting_line(cluster.min_workers, cluster.resources)} Give the same command again when it can, set "
        f"cluster.wait_hours higher, or {_setting(section)} lower."
    )


@contextmanager
def telling(cluster: ClusterConfig, say: Callable[[str], None] = print) -> Iterator[None]:
    """Say every half minute that workers have no room, as after the loss of a node, while the block runs."""
    if address_of(cluster) is None:
        yield
        return
    waits = False

    def look() -> None:
        nonlocal waits
        waited, waits = waits, not placed(placement_group_table().values(), cluster)
        if waited and waits:  # twice in turn: in between, a group may only be starting
            say(waiting_line(cluster.min_workers, cluster.resources))

    with repeating("room", SAY_SEC, look):
        yield


def placed(groups: Any, cluster: ClusterConfig) -> bool:
    """Whether a group of workers as the cluster is asked for has its place"""
    counts = range(cluster.min_workers, cluster.max_workers + 1)
    return any(
        group["state"] == "CREATED"
        and len(group["bundles"]) in counts
        and all(bundle == cluster.resources for bundle in group["bundles"].values())
        for group in groups
    )


def waiting_line(workers: int, per_worker: Resources) -> str:
    """What is waited for, what the cluster has, and whether today's nodes could ever hold it"""
    nodes = alive()
    has = {kind: sum(node["Resources"].get(kind, 0.0) for node in nodes) for kind in ("GPU", "CPU")}
    available = ray.available_resources()
    free = {kind: available.get(kind, 0.0) for kind in has}  # not its memory, which Ray counts in bytes
    needs = {kind: workers * per_worker.get(kind, 0.0) for kind in ("GPU", "CPU")}
    asked = ", ".join(_amount(number, kind) for kind, number in needs.items() if number)
    line = (
        f"waiting for {asked} ({workers} worker{'s' * (workers > 1)}); the cluster has {spoken(has)} on {len(nodes)} "
        f"node{'s' * (len(nodes) > 1)}, of which {spoken(free)} are free."
    )
    if most_workers([node["Resources"] for node in nodes], per_worker) >= workers:
        return line
    return f"{line} Its nodes cannot hold that: it starts when another joins, from an autoscaler or `ray start`."


def most_workers(nodes: Sequence[Resources], per_worker: Resources) -> int:
    """Workers that nodes hold when nothing else runs"""
    wanted = {kind: number for kind, number in per_worker.items() if number}
    return sum(min(_shares(kind, node.get(kind, 0.0), number) for kind, number in wanted.items()) for node in nodes)


def _shares(kind: str, has: float, share: float) -> int:
    """How often a node has a share of a resource; that of a GPU is of one GPU, so two have room for two of 0.6"""
    if kind == "GPU" and share < 1:
        return int(has) * int(1 / share + 1e-4)
    return int(has / share + 1e-4)  # Ray counts in ten-thousandths, and 0.1 x 10 is a little less than 1
