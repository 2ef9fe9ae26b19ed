"""`stylegan explore`: try a generator in the browser."""

import json
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from pipelines.command_table import COMMANDS
from pipelines.listening import is_loopback, listen, url_of
from stylegan.exit_codes import exit_code
from stylegan.text import print_lines

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


@exit_code
def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the page until Ctrl-C or SIGTERM."""
    options = COMMANDS["explore"].parse(arguments)
    import uvicorn  # deferred, as all below: --help waits for none

    from pipelines.explore.app import build_app
    from pipelines.explore.studio import Studio
    from stylegan.backends import prepare_device
    from stylegan.generators import load_any_generator

    with listen(options.host, options.port) as listener:
        if line := prepare_device(options.device, "auto", allow_tf32=False):
            print_lines(line, to_stderr=True)
        G, class_names = load_any_generator(options.generator)
        studio = Studio(G.to(options.device), class_names, distance=options.distance, weights=options.weights)
        page = build_page(options.generator.name, studio.facts())
        address, is_private = url_of(listener), is_loopback(listener.getsockname()[0])
        app = build_app(studio, page, is_private=is_private)
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=SHUTDOWN_SEC, ws="none")
        if not is_private:
            print_lines("Whoever can reach this address can use the explorer: it has no password.", to_stderr=True)
        print_lines(f"Explorer of {options.generator}: {address} (Ctrl-C ends it)")
        if not options.no_browser:
            webbrowser.open(address)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
