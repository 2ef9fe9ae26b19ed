"""Where things run: connecting to Ray, workers, storage, trials. The only place that decides it."""

import logging
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import ray
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, UserCallback

from pipelines.params import ClusterConfig

T = TypeVar("T")
R = TypeVar("R")

NUM_TO_KEEP = 2  # checkpoints: a damaged newest one leaves another
_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # also the time that one report takes; 2 s unless told otherwise
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the other output draws boxes at any verbosity
}


@contextmanager
def connect(cluster: ClusterConfig) -> Iterator[None]:
    """Make Ray available: join cluster.address, or start Ray on this machine and stop it at the end.

    Inside another `connect` it does nothing, so everything in a process shares one cluster.
    """
    if ray.is_initialized():
        yield
        return
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # A machine with fewer cores than asked for runs the same computation, only slower.
    cores = max(os.cpu_count() or 1, cluster.num_workers * cluster.cpus_per_worker)
    num_cpus = cores if cluster.address is None else None
    ray.init(address=cluster.address or "local", num_cpus=num_cpus, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def scaling(cluster: ClusterConfig) -> ScalingConfig:
    """The workers of a training and what each reserves"""
    resources = {"CPU": float(cluster.cpus_per_worker)} | ({"GPU": 1.0} if cluster.use_gpu else {})
    return ScalingConfig(num_workers=cluster.num_workers, use_gpu=cluster.use_gpu, resources_per_worker=resources)


def run_config(cluster: ClusterConfig, folder: Path, callbacks: list[UserCallback]) -> RunConfig:
    """Where a training keeps its checkpoints, and how often it may fail; the same folder resumes.

    folder is runs/<fingerprint>/checkpoints; a shared storage holds it as <storage_path>/<fingerprint>/checkpoints.
    """
    local, run = folder.parent.as_posix(), folder.parent.name
    storage = local if cluster.storage_path is None else f"{cluster.storage_path.rstrip('/')}/{run}"
    return RunConfig(
        name=folder.name,
        storage_path=storage,
        failure_config=FailureConfig(max_failures=cluster.max_failures, controller_failure_limit=cluster.max_failures),
        checkpoint_config=CheckpointConfig(num_to_keep=NUM_TO_KEEP),
        callbacks=callbacks,
    )


def trial_resources(cluster: ClusterConfig) -> dict[str, float]:
    """What one trial of a sweep reserves; as many run at once as the cluster has room for"""
    return {"CPU": 1, "GPU": 1} if cluster.use_gpu else {"CPU": 1}


def trial_device(cluster: ClusterConfig) -> str:
    """Where the tensors of a trial live; Ray shows each trial only the GPU that it reserved"""
    return "cuda" if cluster.use_gpu else "cpu"


@contextmanager
def trial_storage(cluster: ClusterConfig) -> Iterator[str]:
    """Where Tune keeps its notes on a sweep: the storage that every node sees, or a folder that is removed after it."""
    if cluster.storage_path is not None:
        yield cluster.storage_path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield folder


def spread(task: Callable[..., R], items: Iterable[T], cluster: ClusterConfig, *shared: object) -> Iterator[R]:
    """task(item, *shared) of every item, in order, on all cores or GPUs of the cluster.

    What is shared travels once. Items are taken as results leave, so memory does not grow with their number.
    """
    resources = trial_resources(cluster)
    remote = ray.remote(num_cpus=resources["CPU"], num_gpus=resources.get("GPU", 0))(task)
    references = [ray.put(value) for value in shared]
    limit = 2 * max(int(ray.cluster_resources()["GPU" if cluster.use_gpu else "CPU"]), 1)
    pending: deque[ray.ObjectRef[R]] = deque()
    for item in items:
        pending.append(remote.remote(item, *references))
        if len(pending) == limit:
            yield ray.get(pending.popleft())
    while pending:
        yield ray.get(pending.popleft())
