"""The MLflow user interface on this machine, opened at the comparison of runs."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from pathlib import Path
from typing import Literal
from urllib.error import URLError
from urllib.parse import quote

from pipelines.cluster.environment import spare_local_addresses
from pipelines.cluster.signals import Stopped
from stylegan.text import print_lines

LOCAL = "http://127.0.0.1:5000"  # where `make ui` serves
END_SEC = 5.0
START_SEC = 60.0  # the server imports for about 7 s on two cores, longer on a busy machine
Mode = Literal["CHART", "ARTIFACT"]  # curves and parallel coordinates, or tables such as the images of seeds


def comparison(server: str, experiment_id: str, mode: Mode = "CHART") -> str:
    """Address of the page that compares the runs of an experiment

    Without workflowType the interface opens in its mode for language models.
    """
    page = f"{server.rstrip('/')}/#/experiments/{experiment_id}/runs"
    return f"{page}?compareRunsMode={mode}&workflowType=machine_learning"


def saved_view(server: str, experiment_id: str, mode: Mode, key: str) -> str:
    """Address of some of these runs, as a view shows them that was saved (views.py)"""
    return f"{comparison(server, experiment_id, mode)}&viewStateShareKey={quote(key, safe='')}"


def serve(backend: str, experiment_id: str, port: int, *, browser: bool, root: Path) -> int:
    """Run the interface over a database until Ctrl-C, and return its exit status; the server ends with this process.

    Raises RuntimeError if the port is taken or the server does not come up, Stopped for a signal but Ctrl-C.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise RuntimeError(
                f"port {port} is taken, perhaps by an interface that is already open: look at http://127.0.0.1:{port}, "
                f"or pass another --port."
            ) from None
    spare_local_addresses(os.environ)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", backend]
    command += ["--artifacts-destination", str(root / "mlruns"), "--host", "127.0.0.1", "--port", str(port)]
    # A group of its own: the processes that serve are children of the server, and end with it.
    with subprocess.Popen([*command, "--workers", "1"], env=os.environ, start_new_session=True) as server:
        try:
            wait_until_up(f"http://127.0.0.1:{port}", server)
            show(comparison(f"http://127.0.0.1:{port}", experiment_id), browser=browser)
            return server.wait()
        except Stopped as stop:
            if stop.number != signal.SIGINT:
                raise
            return 0
        finally:
            end_group(server)


def end_group(server: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the process group of a server, and SIGKILL to what is left of it after END_SEC."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(END_SEC)
        os.killpg(server.pid, signal.SIGKILL)


def wait_until_up(address: str, server: subprocess.Popen[bytes]) -> None:
    """Wait for the first answer. Raises RuntimeError if the server ends or stays silent."""
    deadline = time.monotonic() + START_SEC
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the MLflow server ended with status {server.returncode}; its last lines say why.")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=1):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise RuntimeError(f"{address}: the MLflow server gave no answer in {START_SEC:g} s. Look at its lines above.")


def show(page: str, *, browser: bool) -> None:
    """Print the address and open it where there is a browser."""
    print_lines("", f"Compare runs: {page}", "")
    if browser:
        webbrowser.open(page)
