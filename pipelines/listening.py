"""An address to serve on: the socket, how it is written in a browser, who reaches it, and whom it refuses."""

import os
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from stylegan.text import visible

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

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


def host_in(address: str) -> str:
    """The host of an address, without its port; empty if it has none"""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def headers_of(scope: "Scope") -> dict[str, str]:
    """By their names in lower case"""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


class Guard:
    """Refuses what pages of other sites ask for, also under a name of theirs that leads here (DNS rebinding).

    is_private: whether the server listens on this machine's own address, which has no other name.
    """

    def __init__(self, app: "ASGIApp", is_private: bool) -> None:
        self.app, self.is_private = app, is_private

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on, or answer it."""
        refusal = self.find_refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
            return
        from starlette.responses import JSONResponse  # deferred: --help of the commands that listen waits for none

        message, status = refusal
        await JSONResponse({"error": visible(message)}, status)(scope, receive, send)

    def find_refusal(self, scope: "Scope") -> tuple[str, int] | None:
        """Why a request is not answered, and the status that says so"""
        headers = headers_of(scope)
        host = headers.get("host", "")
        if self.is_private and not is_loopback(host_in(f"//{host}")):
            return (
                f"host {host!r} is not this machine. Use the address that the terminal shows; a proxy must pass it as "
                "Host.",
                403,
            )
        if headers.get("sec-fetch-site") == "cross-site":
            return "a page of another site may not use this server. Open the address yourself.", 403
        return None
