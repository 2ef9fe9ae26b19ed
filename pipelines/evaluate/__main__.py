"""Stage `evaluate`: generator and archive -> reports/metrics.json, psi_sweep.csv and neighbors.png.

With --network the same of any network on any data; see `stylegan evaluate --help`.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cluster.signals import stop_on_signals
from pipelines.command_table import COMMANDS
from stylegan.exit_codes import exit_code
from stylegan.text import print_json, print_lines

if TYPE_CHECKING:
    from pipelines.artifacts.metrics_json import MetricsReport
    from pipelines.params import Params


def evaluate_run(params: "Params") -> "MetricsReport":
    """Evaluate the generator that was trained here, record it for MLflow, and return what was measured."""
    from pipelines.artifacts import train_json
    from pipelines.evaluate.trained import evaluate
    from pipelines.params import ROOT
    from pipelines.tracking.journal import Journal
    from pipelines.tracking.publisher import publishing
    from pipelines.tracking.recording import record_evaluation, record_model

    root = Path.cwd()
    journal = Journal(ROOT / "runs" / train_json.read(root).fingerprint)
    with publishing(journal, params.tracking):
        report = evaluate(params, root, ROOT / "runs" / "features")
        record_evaluation(journal, report, params.evaluate.model_dump(mode="json"))
        record_model(journal, root, root, params, report)
    return report


def measured(options: argparse.Namespace) -> "MetricsReport":
    """What is measured of the generator that the options name"""
    from pipelines.cluster import capacity
    from pipelines.params import load

    capacity.refuse_impossible(load(overrides=options.overrides).cluster)
    if options.network is None:
        return evaluate_run(load(overrides=options.overrides))
    from pipelines.evaluate.external import evaluate_file  # the stage itself needs no reader of foreign files

    # Numbers of a part of the images are not those of the images: none is left out unless it is asked for.
    params = load(overrides=["prepare.max_bad_share=0", *options.overrides])
    return evaluate_file(params, options.network, options.data, options.out)


@exit_code
@stop_on_signals()
def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate what params.yaml says, with `section.key=value` arguments over it."""
    options = COMMANDS["evaluate"].parse(arguments)
    if options.network is None and (options.data is not None or options.out is not None):
        COMMANDS["evaluate"].build_parser().error(
            "--data and --out go with --network; the stage evaluates models/generator.safetensors"
        )
    # Progress goes where it does not mix with the answer.
    with redirect_stdout(sys.stderr) if options.json else nullcontext():
        report = measured(options)
    # Deferred, as the imports above: --help and a wrong argument are answered before torch is imported.
    from pipelines.artifacts import metrics_json
    from pipelines.diagnosis import frontier

    if options.json:
        print_json(report.folded())
        return
    trade = frontier.table(report.truncation, report.recommended.psi)
    print_lines(*metrics_json.table(report).split("\n"), *trade.split("\n"), report.recommended.sentence)


if __name__ == "__main__":
    sys.exit(main())
