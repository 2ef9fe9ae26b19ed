"""Checks of what this project talks to: Ray, ports, the tracking server, and files that are fetched."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from pipelines.assets import ASSETS, WANTED
from pipelines.cluster import connection
from pipelines.cluster.versions import ClusterError
from pipelines.doctor.findings import Finding
from pipelines.params import Params
from pipelines.tracking.publisher import shown, tracking_uri
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.extractors.weights import FETCH, INCEPTION_SCRIPT, INCEPTION_STATE, VGG16_SCRIPT, find_weights

PUBLISHED = {"inception": (INCEPTION_STATE, INCEPTION_SCRIPT), "vgg16": (VGG16_SCRIPT,)}
RAY_SEC = 120.0  # Ray starts in about 10 s on two free cores, and several times that on busy ones
SERVER_SEC = 5.0
UI_PORT = 5000  # of `stylegan ui`
START = """
import ray
from pipelines.cluster.connection import connect
from pipelines.params import load
with connect(load().cluster):
    assert ray.get(ray.remote(lambda: 1 + 1).remote()) == 2
"""


def check_ray(params: Params, limit_sec: float = RAY_SEC) -> Iterator[Finding]:
    """Start Ray, run one task and stop it; or, with an address, see whether a cluster answers"""
    address = params.cluster.address or os.environ.get("RAY_ADDRESS")
    if address is not None:
        yield reach_cluster(address)
        return
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    # A session of its own, so that it is ended with all that it started.
    with subprocess.Popen([sys.executable, "-c", START], env=environment, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, start_new_session=True) as process:  # fmt: skip
        try:
            _, errors = process.communicate(timeout=limit_sec)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            yield Finding("Ray", "problem", f"did not start within {limit_sec:g} s",
                          "Look at the other lines for memory, TMPDIR and proxies; a firewall must let this machine "
                          "reach itself.")  # fmt: skip
            return
    if process.returncode:
        last = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        remedy = "Fix the other problems first. Ray also gives up if the machine is too busy: try again later."
        yield Finding("Ray", "problem", f"does not start: {last}", remedy)
    else:
        yield Finding("Ray", "ok", "starts on this machine and runs a task")


def reach_cluster(address: str) -> Finding:
    """Whether something listens at host:port"""
    try:
        connection.reach(address)
    except ClusterError as error:
        return Finding("Ray", "problem", str(error), "stylegan cluster check tells more once the address answers.")
    return Finding("Ray", "ok", f"cluster {address} is named; `stylegan cluster check` compares its nodes")


def check_port(port: int = UI_PORT) -> Iterator[Finding]:
    """Whether this machine may listen on itself, and where `stylegan ui` does"""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            yield Finding("port", "warning", f"{port} of 127.0.0.1 cannot be used ({error.strerror})",
                          f"stylegan ui --port {port + 1}")  # fmt: skip
            return
    yield Finding("port", "ok", f"{port} of 127.0.0.1 is free for `stylegan ui`")


def check_tracking(params: Params) -> Iterator[Finding]:
    """Whether the server or the database of tracking.uri answers"""
    uri = tracking_uri(params.tracking)
    reason = why_no_server(uri) if uri.startswith("http") else why_no_database(uri)
    if reason is None:
        yield Finding("tracking", "ok", f"{shown(uri)} can be used")
        return
    remedy = "Set tracking.uri or MLFLOW_TRACKING_URI. Records stay in runs/ until `stylegan publish` can send them."
    yield Finding("tracking", "warning", f"{shown(uri)}: {reason}", remedy)


def why_no_server(uri: str) -> str | None:
    """What is wrong with a server; None if it answers"""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SERVER_SEC):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return None if error.code in (401, 403) else f"answers with {error.code}"  # those ask who one is
    except (OSError, ValueError) as error:
        return f"does not answer ({getattr(error, 'reason', error)})"


def why_no_database(uri: str) -> str | None:
    """What is wrong with an embedded database; None if it opens, or may be made"""
    if not uri.startswith("sqlite:///"):
        return None  # MLflow knows others, and says itself what it needs
    path = Path(uri.removeprefix("sqlite:///"))
    if not path.exists():
        return None if path.parent.is_dir() and os.access(path.parent, os.W_OK) else f"{path.parent} is not writable"
    try:
        connected = sqlite3.connect(path)
        try:
            connected.execute("select count(*) from sqlite_master").fetchone()
        finally:
            connected.close()
    except sqlite3.Error as error:
        return f"is not a database that opens ({error})"
    return None


def check_assets(root: Path) -> Iterator[Finding]:
    """Pinned weights and images, which pip fetches"""
    missing = [asset.target for asset in WANTED if not (root / ASSETS / asset.target).is_file()]
    if missing:
        yield Finding("assets", "warning", f"not fetched yet: {', '.join(missing)}",
                      "`make repro` fetches them; `stylegan assets` does so alone.")  # fmt: skip
    else:
        yield Finding("assets", "ok", f"{len(WANTED)} files in {root / ASSETS}")


def check_weights(params: Params, root: Path) -> Iterator[Finding]:
    """Networks of published metrics, which only a person fetches, and the user's own"""
    used = {"evaluate.extractor": params.evaluate.extractor, "evaluate.ppl_network": params.evaluate.ppl_network}
    for key, name in used.items():
        if name.startswith("weights/") and not (root / name).is_file():
            yield Finding("weights", "problem", f"{key} is {name}: file not found", f"Copy it to {root / name}.")
    for name, wanted in PUBLISHED.items():
        keys = [key for key, value in used.items() if value == name]
        try:
            path, _ = find_weights(name, wanted, root / ASSETS, remedy="")
        except MetricError as error:
            yield Finding("weights", "problem", str(error))
        except FileNotFoundError:
            if keys:
                yield Finding("weights", "problem", f"{' and '.join(keys)}: {name} is missing", FETCH)
            else:
                yield Finding("weights", "ok", f"{name} is missing, and params.yaml does not need it")
        else:
            yield Finding("weights", "ok", f"{name} is {path}")
