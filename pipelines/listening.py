"""An address to serve on: the socket, how it is written in a browser, and who reaches it."""

import os
import socket
from ipaddress import ip_address

BACKLOG = 2048  # connections that wait to be accepted


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections. Raises RuntimeError if it cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
        raise RuntimeError(
            f"{host}:{port}: cannot listen there ({reason}). Choose another with --host or --port; port 0 takes a "
            "free one."
        ) from None


def url_of(server: socket.socket) -> str:
    """Where a browser finds it"""
    host, port = server.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own, which no other can reach"""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
