"""Connecting to Ray: a cluster, or this machine. Ray Train is told here how it watches workers."""

import logging
import math
import os
import shlex
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import ray

from pipelines.cluster import environment, loopback, ownership, sessions, signals, store, versions
from pipelines.cluster.versions import ClusterError
from pipelines.params import ClusterConfig
from stylegan.text import print_lines

T = TypeVar("T")
REACH_SEC = 10.0
ELASTIC_SEC = 60  # after which a group that finds no room is asked for again, with as many workers as there is room for
START_ATTEMPTS = 4
_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # also the time that one report takes; 2 s unless told otherwise
    "RAY_AIR_NEW_OUTPUT": "0",  # the other output draws boxes at any verbosity
}


@contextmanager
def connect(cluster: ClusterConfig, *, refuse_others: bool = True) -> Iterator[None]:
    """Make Ray available: join a cluster, or start Ray on this machine and stop it at the end.

    cluster.address names the cluster; when that is null, the environment's RAY_ADDRESS; when both are missing, Ray is
    started here. Inside another `connect` it does nothing, so everything in a process shares one cluster.
    Raises ClusterError if no cluster answers at the address, or, with refuse_others, its nodes run other versions or
    other code; ConfigError where Ray finds no place for its sockets.
    """
    address = address_of(cluster) or "local"
    for name, value in (_ENVIRONMENT | _watch(cluster, address)).items():
        os.environ.setdefault(name, value)  # also inside another `connect`, which may have been in another process
    if ray.is_initialized():
        yield
        return
    environment.spare_local_addresses(os.environ)
    if address == "local":
        environment.shorten_temporary_folder(os.environ)
    # A machine with fewer cores than asked for runs the same computation, only slower.
    cores = max(os.cpu_count() or 1, math.ceil(cluster.max_workers * cluster.resources["CPU"]))
    runtime_env = _runtime_env(address)
    reach(address)
    with loopback.local_only() if address == "local" else nullcontext():
        with signals.kept(), ownership.marked() if address == "local" else nullcontext():
            try:
                session = _start(address, cores, runtime_env)
            except ClusterError:
                raise
            except (OSError, RuntimeError, ValueError) as error:  # none there, of another version, or no address
                raise refused(address, error) from error
        try:
            if address != "local" and refuse_others:
                versions.check()
            yield
        except BaseException:  # the logs of this session may say why
            ray.shutdown()
            raise
        ray.shutdown()
        if session is not None:
            sessions.end(session)


def address_of(cluster: ClusterConfig) -> str | None:
    """The cluster that is to be joined; None if Ray starts on this machine"""
    return cluster.address or os.environ.get("RAY_ADDRESS") or None


def _runtime_env(address: str) -> dict[str, Any] | None:
    """What workers need beyond the environment that those of a Ray that starts here inherit"""
    if address != "local":  # there they know no credentials but these
        return {"env_vars": store.credentials()}
    # Ray hands the interpreter to a shell as it is, so a path with spaces starts no worker, and Ray tries for ever.
    quoted = shlex.quote(sys.executable)
    return {"py_executable": quoted} if quoted != sys.executable else None


def _start(address: str, cores: int, runtime_env: dict[str, Any] | None) -> Path | None:
    """Start Ray on this machine, in a session whose folder is returned, or join the cluster at the address

    Raises ClusterError, and what Ray raises.
    """
    init = partial(ray.init, address=address, log_to_driver=False, runtime_env=runtime_env)
    if address != "local":
        init(logging_level=logging.ERROR)
        return None
    # Ray's dashboard takes ports as if it were alone on the machine, and would print a traceback beside another Ray.
    # What else keeps Ray from starting is raised, and reported in one line.
    started = _patiently(partial(init, num_cpus=cores, include_dashboard=False, logging_level=logging.CRITICAL))
    logging.getLogger("ray").setLevel(logging.ERROR)
    session = Path(started.address_info["session_dir"])
    sessions.begin(session)
    return session


def _patiently(start: Callable[[], T]) -> T:
    """Start Ray here, again if it gives up: it grants its node 30 s, which a busy machine exceeds.

    Raises ClusterError.
    """
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            return start()
        except Exception as error:
            if type(error) is not Exception:  # which is what Ray raises for that
                raise
            ownership.end_own()
            if attempt == START_ATTEMPTS:
                raise ClusterError(
                    f"Ray did not start on this machine in {attempt} attempts: {error} Try again when the machine is "
                    "less busy, or end leftover Ray processes with `make stop`."
                ) from error
            print_lines("Ray did not start within 30 s; trying again")
    raise AssertionError("the last attempt returns or raises")


def _watch(cluster: ClusterConfig, address: str) -> dict[str, str]:
    """How Ray Train watches the workers: one that answers no more is dead, and nodes of a cluster may be called back"""
    elastic = cluster.min_workers < cluster.max_workers  # then a group that finds no room begins with fewer workers
    return {
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(ELASTIC_SEC if elastic else cluster.wait_hours * 3600),
        "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": str(cluster.collective_timeout_sec),
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0" if address == "local" else "1",
        "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",  # 5 unless told otherwise, of the 30 that some clouds leave
    }


def reach(address: str) -> None:
    """Try host:port for some seconds; ray.init would try for ever. Raises ClusterError if nothing listens there."""
    host, colon, port = address.rpartition(":")
    if not colon or "/" in address:
        return
    try:
        socket.create_connection((host, int(port)), timeout=REACH_SEC).close()
    except (OSError, ValueError) as error:
        raise refused(address, error) from error


def refused(address: str, error: Exception) -> ClusterError:
    """Why a cluster could not be joined, and where its address came from"""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    if address == "local":
        folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
        return ClusterError(
            f"Ray could not start on this machine: {reason}. Its logs are in {folder}/ray/session_latest/logs; "
            "`.venv/bin/python -m pipelines.stop` ends what it left."
        )
    return ClusterError(
        f"{address}: cannot join that Ray cluster: {reason}. The address is cluster.address in params.yaml, or else "
        "RAY_ADDRESS: host:port, or auto on a machine of the cluster. Without both, Ray starts on this machine."
    )
