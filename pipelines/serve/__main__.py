"""`stylegan serve`: a generator file, or a model of the registry, behind HTTP on this machine."""

import argparse
import contextlib
import sys
from collections.abc import Sequence

from pipelines.command_table import COMMANDS
from pipelines.listening import is_loopback, listen, url_of
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
        is_private = is_loopback(server.getsockname()[0])
        app = create_app(service, is_private=is_private)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=DRAIN_SEC)
        announce(options.model, url_of(server), is_private=is_private)
        uvicorn.Server(config).run(sockets=[server])


def announce(model: str, address: str, *, is_private: bool) -> None:
    """Say where the server is, and who can reach it."""
    print_lines(f"{model}: {address}/image?seed=7 (also /images, /model and /health). Ctrl-C stops it.")
    if not is_private:
        print_lines("There is no password: whoever reaches this address can have images drawn.", to_stderr=True)


@exit_code
def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of `serve`"""
    serve(COMMANDS["serve"].parse(arguments))


if __name__ == "__main__":
    sys.exit(main())
