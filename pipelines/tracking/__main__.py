"""`python -m pipelines.tracking publish | ui`: every run here on the tracking server, and the page that compares them.

publish    make every run here appear on the server; safe to repeat
ui         open the comparison of runs in a browser
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.cluster.signals import stop_on_signals
from pipelines.command_table import COMMANDS
from pipelines.options import add_choice
from pipelines.params import ROOT, Params, load
from pipelines.tracking import ui
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import Publisher, TrackingError, find_experiment, shown, tracking_uri
from pipelines.tracking.recording import record_outputs
from stylegan.command_line import Parser
from stylegan.exit_codes import DONE, FAILED, exit_code
from stylegan.text import print_lines
from stylegan.wording import counted


def publish_everything(params: Params, root: Path = ROOT) -> int:
    """Record what lies in the work tree, send every journal, and return how many could not be sent."""
    record_outputs(root, params)
    failures = 0
    runs = root / "runs"
    for path in sorted([*runs.glob("*/tracking.jsonl"), *runs.glob("*/points/*/tracking.jsonl")]):
        publisher = Publisher(Journal(path.parent), params.tracking, root)
        try:
            count, where = publisher.publish(at_once=True), shown(publisher.uri)
            said = (
                f"{counted(count, 'new record')} sent to {where}" if count else f"complete in {where}, nothing to send"
            )
            print_lines(f"run {path.parent.name}: {said}")
        except TrackingError as error:
            print_lines(f"run {path.parent.name}: not sent, kept in {path}: {error}", to_stderr=True)
            failures += 1
    return failures


@exit_code
@stop_on_signals()
def publish(arguments: Sequence[str] | None = None) -> int:
    """Command line of `publish`"""
    COMMANDS["publish"].parse(arguments)
    return min(publish_everything(load(ROOT / "params.yaml")), FAILED)


@exit_code
@stop_on_signals()
def open_ui(arguments: Sequence[str] | None = None) -> int:
    """Command line of `ui`"""
    options = COMMANDS["ui"].parse(arguments)
    params = load(ROOT / "params.yaml")
    uri, experiment_id = tracking_uri(params.tracking), find_experiment(params.tracking)
    if uri.startswith("http"):
        ui.show(ui.comparison(uri, experiment_id), browser=not options.no_browser)
        return DONE
    return ui.serve(uri, experiment_id, options.port, browser=not options.no_browser, root=ROOT)


@exit_code
@stop_on_signals()
def main(arguments: Sequence[str] | None = None) -> int:
    """python -m pipelines.tracking publish"""
    example = "example:\n  python -m pipelines.tracking publish"
    parser = Parser(prog="python -m pipelines.tracking", description="Publish runs and look at them.", epilog=example)
    add_choice(parser, ("publish", "ui"))
    options = parser.parse_args(arguments)
    return {"publish": publish, "ui": open_ui}[options.command](options.arguments)


if __name__ == "__main__":
    sys.exit(main())
