"""`stylegan explore`: try a generator in the browser."""

import json
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.command_table import COMMANDS
from stylegan.exit_codes import exit_code
from stylegan.text import print_lines

if TYPE_CHECKING:
    import torch

FILES = Path(__file__).parent
SHUTDOWN_SEC = 1  # that unfinished requests are given


def build_page(name: str, facts: dict[str, object]) -> str:
    """The page with all that it needs"""
    from markupsafe import Markup

    from pipelines.drawing.page import fill

    # "<" would let a name of a class or a file end the script element.
    values = {"facts": Markup(json.dumps(facts).replace("<", "\\u003c")), "name": name}
    texts = {kind: Markup((FILES / f"explore.{kind}").read_text(encoding="utf-8")) for kind in ("css", "js")}
    return fill(FILES / "explore.html", values | texts)


def listen(host: str, port: int) -> socket.socket:
    """A socket at this address. Raises RuntimeError if it cannot be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise RuntimeError(
            f"{host}:{port}: cannot listen there ({error.strerror or error}). Is an explorer open already? Pass "
            "another --port; 0 takes a free one."
        ) from None


def usable_device(text: str) -> "torch.device":
    """A device that holds tensors here. Raises RuntimeError otherwise."""
    import torch  # deferred: --help does not wait for it

    try:
        return torch.empty(0, device=text).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RuntimeError(f"--device {text}: cannot be used on this machine ({reason}); cpu always can.") from None


@exit_code
def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the page until Ctrl-C or SIGTERM."""
    options = COMMANDS["explore"].parse(arguments)
    import uvicorn  # deferred, as all below: --help waits for none

    from pipelines.explore.app import build_app, is_loopback
    from pipelines.explore.studio import Studio
    from stylegan.backends import prepare_device
    from stylegan.generators import load_any_generator

    with listen(options.host, options.port) as listener:
        device = usable_device(options.device)
        if line := prepare_device(device, "auto", allow_tf32=False):
            print_lines(line, to_stderr=True)
        G, class_names = load_any_generator(options.generator)
        studio = Studio(G.to(device), class_names, distance=options.distance, weights=options.weights)
        page = build_page(options.generator.name, studio.facts())
        config = uvicorn.Config(
            build_app(studio, page, options.host), log_level="critical", timeout_graceful_shutdown=SHUTDOWN_SEC,
            ws="none",
        )  # fmt: skip
        host = f"[{options.host}]" if ":" in options.host else options.host
        address = f"http://{host}:{listener.getsockname()[1]}"
        if not is_loopback(options.host):
            print_lines("Whoever can reach this address can use the explorer: it has no password.", to_stderr=True)
        print_lines(f"Explorer of {options.generator}: {address} (Ctrl-C ends it)")
        if not options.no_browser:
            webbrowser.open(address)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
