"""`stylegan serve`: a generator file, or a model of the registry, behind HTTP on this machine."""

import argparse
import contextlib
import ipaddress
import socket
import sys
from collections.abc import Sequence

from pipelines.command_table import COMMANDS
from stylegan.exit_codes import exit_code
from stylegan.text import print_lines

DRAIN_SEC = 10  # that a stopped server has to finish what it draws


def serve(options: argparse.Namespace) -> None:
    """Answer until a signal comes. Raises the errors of the file, and RuntimeError if the port is taken."""
    import uvicorn  # deferred, as below: --help and a wrong argument are answered before torch is imported

    from pipelines.serve.app import create_app, load_service
    from pipelines.serve.source import model_file

    with contextlib.closing(listen(options.host, options.port)) as server:
        with model_file(options.model) as generator:
            service = load_service(
                generator, batch_size=options.batch_size, device=options.device, kernels=options.kernels
            )
        app = create_app(service)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=DRAIN_SEC)
        announce(options.model, *server.getsockname()[:2])
        uvicorn.Server(config).run(sockets=[server])


def announce(model: str, host: str, port: int) -> None:
    """Say where the server is, and who can reach it."""
    shown = f"[{host}]" if ":" in host else host
    print_lines(f"{model}: http://{shown}:{port}/image?seed=7 (also /images, /model and /health). Ctrl-C stops it.")
    if not ipaddress.ip_address(host).is_loopback:
        print_lines("There is no password: whoever reaches this address can have images drawn.", to_stderr=True)


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections. Raises RuntimeError if it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        server = socket.socket(family, kind, protocol)
        try:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(address)
            server.listen(2048)
        except BaseException:
            server.close()
            raise
    except OSError as error:
        raise RuntimeError(f"{host}:{port}: {error.strerror or error}. Choose others with --host and --port.") from None
    return server


@exit_code
def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of `serve`"""
    serve(COMMANDS["serve"].parse(arguments))


if __name__ == "__main__":
    sys.exit(main())
