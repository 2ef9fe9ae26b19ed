"""A Ray that starts here: every port listens on this machine's own address alone, and asks for a token besides.

Ray offers that for macOS and Windows, where clusters are not supported: without them it takes 127.0.0.1 for the address
of its node, and its processes then listen nowhere else. The token keeps out other users of this machine.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from ray._private import ray_constants
from ray._private.authentication.authentication_token_setup import AuthenticationTokenLoader, Config

LOOPBACK = "127.0.0.1"
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")  # a user's own secret, or the file that holds it


@contextmanager
def local_only() -> Iterator[None]:
    """Ray that starts in the block is reached from this machine alone, with a token that nobody else has."""
    before = dict(os.environ)
    added = {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0", "RAY_AUTH_MODE": "token", **_interfaces()}
    if not any(os.environ.get(name) for name in TOKENS):
        # Ray would write it to ~/.ray/auth_token, which others may read; this one ends with the processes that know it.
        added["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    os.environ |= added
    clusters, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False  # read when ray was imported
    _read_token_again()
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
        for name in added:
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)
        _read_token_again()


def _interfaces() -> dict[str, str]:
    """Where the processes of a training listen for each other, whatever a cluster's shell says"""
    names = [
        name for name, addresses in psutil.net_if_addrs().items() if any(each.address == LOOPBACK for each in addresses)
    ]
    return dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), names[0]) if names else {}


def _read_token_again() -> None:
    """Ray remembers whether clients need a token, and which, from the first time it was asked."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
