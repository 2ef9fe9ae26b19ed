"""Where things run: connecting to Ray, workers, storage. The only place that decides it."""

import logging
import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import ray
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer

from pipelines import store, versions
from pipelines.params import ClusterConfig

J = TypeVar("J")
R = TypeVar("R")

HOURS_SEC = 24 * 3600  # that a rank may wait for another, which computes what cannot be shared
RESIZE_SEC = 60.0  # between looks for nodes to grow by; growing costs the ticks since the last snapshot
NUM_TO_KEEP = 2  # checkpoints: a damaged newest one leaves another
_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # also the time that one report takes; 2 s unless told otherwise
    "RAY_AIR_NEW_OUTPUT": "0",  # the other output draws boxes at any verbosity
}


@contextmanager
def connect(cluster: ClusterConfig, *, refuse_others: bool = True) -> Iterator[None]:
    """Make Ray available: join a cluster, or start Ray on this machine and stop it at the end.

    cluster.address names the cluster; when that is null, the environment's RAY_ADDRESS; when both are missing, Ray is
    started here. Inside another `connect` it does nothing, so everything in a process shares one cluster.
    Raises ClusterError when no cluster answers at the address, or, with refuse_others, its nodes run other versions or
    other code.
    """
    if ray.is_initialized():
        yield
        return
    address = cluster.address or os.environ.get("RAY_ADDRESS") or "local"
    for name, value in (_ENVIRONMENT | _watch(cluster, address)).items():
        os.environ.setdefault(name, value)
    # A machine with fewer cores than asked for runs the same computation, only slower.
    cores = max(os.cpu_count() or 1, cluster.max_workers * cluster.cpus_per_worker)
    num_cpus = cores if address == "local" else None
    # Workers of a Ray that starts here inherit the environment; elsewhere they know no credentials but these.
    abroad = address != "local" and cluster.storage_path is not None
    runtime_env = {"env_vars": store.credentials()} if abroad else None
    versions.reach(address)
    try:
        ray.init(
            address=address, num_cpus=num_cpus, log_to_driver=False, logging_level=logging.ERROR,
            runtime_env=runtime_env,
        )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError) as error:  # none there, of another version, or no address
        raise versions.refused(address, error) from error
    try:
        if address != "local" and refuse_others:
            versions.check()
        yield
    finally:
        ray.shutdown()


def _watch(cluster: ClusterConfig, address: str) -> dict[str, str]:
    """How Ray Train watches the workers: one that answers no more is dead, and nodes of a cluster may be called back"""
    return {
        "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": str(cluster.collective_timeout_sec),
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0" if address == "local" else "1",
        "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",  # 5 unless told otherwise, of the 30 that some clouds leave
    }


def scaling(cluster: ClusterConfig) -> ScalingConfig:
    """The workers of a training, or the fewest and most of them, and what each reserves"""
    return ScalingConfig(
        num_workers=cluster.num_workers,
        use_gpu=cluster.use_gpu,
        resources_per_worker=cluster.resources,
        elastic_resize_monitor_interval_s=RESIZE_SEC,
    )


def run_config(cluster: ClusterConfig, folder: Path, callbacks: list[UserCallback], lowest: str | None) -> RunConfig:
    """Where a training keeps which checkpoints, and how often it may fail; the same folder resumes.

    lowest: the number by which the best are kept; every report of a checkpoint has to hold it, or Ray takes that for
    the best. The last is kept beside them. None keeps the last ones.
    folder is runs/<fingerprint>/checkpoints; a shared storage holds it as <storage_path>/<fingerprint>/checkpoints.
    """
    storage, filesystem = store.for_ray(run_state(cluster, folder.parent))
    return RunConfig(
        name=folder.name,
        storage_path=storage,
        storage_filesystem=filesystem,
        failure_config=FailureConfig(max_failures=cluster.max_failures, controller_failure_limit=cluster.max_failures),
        checkpoint_config=CheckpointConfig(
            num_to_keep=NUM_TO_KEEP, checkpoint_score_attribute=lowest, checkpoint_score_order="min"
        ),
        callbacks=callbacks,
    )


def run_state(cluster: ClusterConfig, folder: Path) -> str:
    """Where the workers keep a run whose folder here is runs/<fingerprint>: a path or URL"""
    return folder.as_posix() if cluster.storage_path is None else store.join(cluster.storage_path, folder.name)


def on_workers(worker: Callable[[J], R | None], job: J, cluster: ClusterConfig, name: str) -> R:
    """worker(job) on a group of workers as a training has it, and the result of rank 0

    A worker that dies is replaced, and all begin again, up to cluster.max_failures times.
    """
    with scratch_storage(cluster) as url:
        storage, filesystem = store.for_ray(url)
        result = TorchTrainer(
            lambda job: worker(job["job"]),
            train_loop_config={"job": job},
            torch_config=TorchConfig(timeout_s=HOURS_SEC),
            scaling_config=scaling(cluster),
            run_config=RunConfig(
                name=name,
                storage_path=storage,
                storage_filesystem=filesystem,
                failure_config=FailureConfig(
                    max_failures=cluster.max_failures, controller_failure_limit=cluster.max_failures
                ),
            ),
        ).fit()
    found: R = result.return_value
    return found


@contextmanager
def scratch_storage(cluster: ClusterConfig) -> Iterator[str]:
    """A folder for what Ray notes of a group, removed after it; where there is a storage, every node sees it"""
    if cluster.storage_path is None:
        with tempfile.TemporaryDirectory() as folder:
            yield folder
        return
    url = store.join(cluster.storage_path, f"scratch-{uuid.uuid4().hex[:12]}")
    try:
        yield url
    finally:
        store.remove(url)


def main(arguments: list[str]) -> None:
    """python -m pipelines.cluster status [--address HOST:PORT]"""
    from pipelines import status  # it connects through this module

    if arguments[:1] != ["status"]:
        sys.exit("cluster: expected a command: python -m pipelines.cluster status")
    status.main(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
