"""The workers of a training or measurement: how many, what they reserve, and where Ray keeps what they save."""

import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from ray.train import CheckpointConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer

from pipelines.cluster import capacity, signals, store
from pipelines.cluster.attempts import FAILURES, Attempts
from pipelines.cluster.errors import named
from pipelines.cluster.rendezvous import GroupConfig
from pipelines.params import ClusterConfig

J = TypeVar("J")
R = TypeVar("R")

HOURS_SEC = 24 * 3600  # that a rank may wait for another, which computes what cannot be shared
NEVER_SEC = 30 * 24 * 3600.0  # after which Ray would look for nodes to grow by, and begin everything again
LESS_MEMORY = "Set evaluate.batch_size or cluster.num_workers lower, or use machines with more memory."
NUM_TO_KEEP = 2  # checkpoints: a damaged newest one leaves another


def scaling(cluster: ClusterConfig) -> ScalingConfig:
    """The workers of a training, or the fewest and most of them, and what each reserves

    Once they run, Ray leaves their number alone: a measurement ends with those that it has, a training asks for more.
    """
    return ScalingConfig(
        num_workers=cluster.num_workers,
        use_gpu=cluster.use_gpu,
        resources_per_worker=cluster.resources,
        elastic_resize_monitor_interval_s=NEVER_SEC,
    )


def run_config(cluster: ClusterConfig, folder: Path, callbacks: list[UserCallback], lowest: str | None) -> RunConfig:
    """Where a training keeps which checkpoints; the same folder resumes. Of failures see attempts.py.

    lowest: the number by which the best are kept; every report of a checkpoint has to hold it, or Ray takes that for
    the best. The last is kept next to them. None keeps the last ones.
    folder is runs/<fingerprint>/checkpoints; a shared storage holds it as <storage_path>/<fingerprint>/checkpoints.
    """
    storage, filesystem = store.for_ray(run_state(cluster, folder.parent))
    return RunConfig(
        name=folder.name,
        storage_path=storage,
        storage_filesystem=filesystem,
        failure_config=FAILURES,
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
    Raises LastingError, StoreError, WorkerError, and CapacityError after cluster.wait_hours without room.
    """
    attempts = Attempts(cluster.max_failures, lambda _: "The workers begin again.")

    def attempt() -> R:
        capacity.await_room(cluster, is_over=attempts.asked_to_end.is_set)
        with scratch_storage(cluster) as url, capacity.telling(cluster):
            storage, filesystem = store.for_ray(url)
            trainer = TorchTrainer(
                lambda job: _call(worker, job["job"]),
                train_loop_config={"job": job},
                torch_config=GroupConfig(timeout_s=HOURS_SEC),
                scaling_config=scaling(cluster),
                run_config=RunConfig(
                    name=name, storage_path=storage, storage_filesystem=filesystem, failure_config=FAILURES
                ),
            )
            found: R = trainer.fit().return_value
        return found

    found, stopped = signals.interruptible(lambda: attempts.until_done(attempt), attempts.asked_to_end.set, grace_sec=0)
    if stopped is not None:
        raise stopped
    return found  # type: ignore[return-value]  # None where rank 0 returns it


def _call(worker: Callable[[J], R | None], job: J) -> R | None:
    with named(LESS_MEMORY):
        return worker(job)


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
        with suppress(store.StoreError):  # what was found counts, and a failure is about something else
            store.remove(url)
