"""`python -m pipelines.tracking publish | ui`: every run here on the tracking server, and the page that compares them.

publish    make every run here appear on the server; safe to repeat
ui         open the comparison of runs in a browser
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.cluster.signals import stop_on_signals
from pipelines.params import ROOT, Params, load
from pipelines.tracking import ui
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import Publisher, TrackingError, find_experiment, shown, tracking_uri
from pipelines.tracking.recording import record_outputs
from stylegan.config import ConfigError


def publish_everything(params: Params, root: Path = ROOT) -> int:
    """Record what lies in the work tree, send every journal, and return how many could not be sent."""
    record_outputs(root, params)
    failures = 0
    runs = root / "runs"
    for path in sorted([*runs.glob("*/tracking.jsonl"), *runs.glob("*/points/*/tracking.jsonl")]):
        publisher = Publisher(Journal(path.parent), params.tracking, root)
        try:
            print(f"run {path.parent.name}: {publisher.publish()} new records sent to {shown(publisher.uri)}")
        except TrackingError as error:
            print(f"run {path.parent.name}: not sent, kept in {path}: {error}", file=sys.stderr)
            failures += 1
    return failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.tracking", description="Publish runs and look at them.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("publish", help="make every run here appear on the tracking server; safe to repeat")
    opening = commands.add_parser("ui", help="open the comparison of runs")
    opening.add_argument("--port", type=int, default=5000, help="of the local server (5000)")
    opening.add_argument("--no-browser", action="store_true", help="only print the address")
    options = parser.parse_args(arguments)
    try:
        params = load(ROOT / "params.yaml")
        if options.command == "publish":
            return min(publish_everything(params), 1)
        uri, experiment_id = tracking_uri(params.tracking), find_experiment(params.tracking)
        if uri.startswith("http"):
            ui.show(ui.comparison(uri, experiment_id), browser=not options.no_browser)
            return 0
        return ui.serve(uri, experiment_id, options.port, browser=not options.no_browser, root=ROOT)
    except (ConfigError, FileNotFoundError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    with stop_on_signals():
        sys.exit(main())
