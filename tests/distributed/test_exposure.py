"""What a Ray that starts here shows to others: no port outside 127.0.0.1, and nothing without its token."""

import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
import ray

from pipelines.cluster import workers
from pipelines.cluster.connection import connect
from pipelines.params import Params

pytestmark = [
    pytest.mark.distributed,
]

# Asks a Ray at the lowest level, its table of names and values, once without a token and then with each that is given.
STRANGER = """
import os, sys
from ray._private.authentication.authentication_token_setup import AuthenticationTokenLoader, Config
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError
for token in ("", *sys.argv[2:]):
    if token:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()
    try:
        print(b"session_name" in GcsClient(address=sys.argv[1]).internal_kv_keys(b"", None))
    except AuthenticationError:
        print("refused")
"""


def listening(process: psutil.Process) -> set[str]:
    """Addresses of a process's own at which others reach it"""
    connections = process.net_connections(kind="inet")
    return {each.laddr.ip.removeprefix("::ffff:") for each in connections if each.status == psutil.CONN_LISTEN}


def look_around(_: object) -> tuple[set[str], set[int]]:
    """In a worker: where all of this Ray listens, and the rights of the folders by which workers met"""
    addresses = set[str]()
    raylet = psutil.Process().parent()
    assert raylet is not None
    owner = raylet.parent()
    assert owner is not None
    for process in owner.children(recursive=True):
        try:
            addresses |= listening(process)
        except psutil.NoSuchProcess:
            continue
    folders = Path(tempfile.gettempdir()).glob("stylegan-group-*/meet")
    return addresses, {stat.S_IMODE(file.parent.stat().st_mode) for file in folders}


def ask(address: str, *tokens: str) -> list[str]:
    """What a Ray tells a client that knows nothing, as another user's, and then one with each of the tokens"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", STRANGER, address, *tokens]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment | {"HOME": "/nowhere"})
    return done.stdout.split()


def test_nobody_else_reaches_a_ray_that_starts_here(tiny_params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    with connect(tiny_params.cluster):
        addresses, rights = workers.on_workers(look_around, None, tiny_params.cluster, "exposure")
        assert addresses | listening(psutil.Process()) == {"127.0.0.1"}
        assert rights == {0o700}
        gcs = ray.get_runtime_context().gcs_address
        port = int(gcs.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=5), pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", port), timeout=5)  # stands for any other address of this machine
        own = os.environ["RAY_AUTH_TOKEN"]
        assert ask(gcs, "0" * len(own), own) == ["refused", "refused", "True"]
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
