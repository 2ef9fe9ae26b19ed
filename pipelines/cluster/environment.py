"""Variables of a user's environment that Ray and local servers trip over: TMPDIR, HOME, and a proxy for every address.

The functions change the mapping in place, usually os.environ, so that processes started later inherit it.
"""

import os
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from stylegan.config import ConfigError
from stylegan.text import print_lines

Environment = MutableMapping[str, str]

LOCAL = ("localhost", "127.0.0.1", "::1")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
# A Unix socket's path has at most 107 bytes on Linux; this is what Ray hangs below its temporary folder.
SOCKET_BYTES = 107
SOCKET_TAIL = "/ray/session_2026-01-31_23-59-59_000000_4194304/sockets/plasma_store"
SHORT = Path("/tmp")


def spare_local_addresses(environment: Environment) -> None:
    """Keep a proxy, if there is one, out of connections to this machine."""
    if not any(environment.get(spelling) for name in PROXIES for spelling in (name, name.upper())):
        return
    listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = [host.strip() for host in listed.split(",") if host.strip()]
    spared = ",".join([*hosts, *(host for host in LOCAL if host not in hosts)])
    environment.update(no_proxy=spared, NO_PROXY=spared)  # libraries read the one or the other


def shorten_temporary_folder(environment: Environment, short: Path = SHORT) -> None:
    """Replace a TMPDIR whose path is too long for the sockets of Ray and of Python's processes, and say so on stderr.

    Raises ConfigError with the remedy when there is no shorter one, and for a RAY_TMPDIR that is too long.
    """
    room = SOCKET_BYTES - len(SOCKET_TAIL)
    if length := _excess(folder := environment.get("RAY_TMPDIR", ""), room):
        raise ConfigError(_too_long("RAY_TMPDIR", folder, length, room))
    if length := _excess(folder := environment.get("TMPDIR") or tempfile.gettempdir(), room):
        if not os.access(short, os.W_OK | os.X_OK):
            raise ConfigError(_too_long("TMPDIR", folder, length, room))
        print_lines(f"{_too_long('TMPDIR', folder, length, room)} For now it is {short}.", to_stderr=True)
        environment["TMPDIR"] = str(short)


def _excess(folder: str, room: int) -> int:
    """Bytes of a path that has more than room, else 0"""
    length = len(os.fsencode(folder))
    return length if length > room else 0


def _too_long(name: str, folder: str, length: int, room: int) -> str:
    return (
        f"{name} is {folder}, {length} bytes, of which Ray's sockets can have {room}. Set {name} to a shorter folder "
        "that is writable."
    )
