"""Where things run: connecting to Ray, and what a trial may take. The only place that decides it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pipelines.params import ClusterConfig


@contextmanager
def connect(cluster: ClusterConfig) -> Iterator[None]:
    """Make Ray available: join cluster.address, or start Ray on this machine and stop it at the end.

    Inside another `connect` it does nothing, so everything in a process shares one cluster.
    """
    if ray.is_initialized():
        yield
        return
    ray.init(address=cluster.address or "local", log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


def trial_resources(cluster: ClusterConfig) -> dict[str, float]:
    """What one trial of a sweep reserves; as many run at once as the cluster has room for"""
    return {"CPU": 1, "GPU": 1} if cluster.use_gpu else {"CPU": 1}


def trial_device(cluster: ClusterConfig) -> str:
    """Where the tensors of a trial live; Ray shows each trial only the GPU that it reserved"""
    return "cuda" if cluster.use_gpu else "cpu"
