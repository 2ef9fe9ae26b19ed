"""Stage `evaluate`: generator and archive -> reports/metrics.json, psi_sweep.csv and neighbors.png.

With --network the same of any network on any data; see `python -m pipelines.evaluate --help`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.artifacts import metrics_json, train_json
from pipelines.cluster.signals import stop_on_signals
from pipelines.cluster.store import StoreError
from pipelines.diagnosis import frontier
from pipelines.evaluate.measurement import EvaluationError
from pipelines.evaluate.trained import evaluate
from pipelines.params import ROOT, load
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import publishing
from pipelines.tracking.recording import record_evaluation


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate what params.yaml says, with `section.key=value` arguments over it, and record it for MLflow."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.evaluate", description="Measure a generator.")
    parser.add_argument("--network", type=Path, metavar="FILE", help="any network: .safetensors, or an official .pkl")
    parser.add_argument("--data", type=Path, metavar="DATA", help="archive, folder or data set (data/archive.zip)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where reports go (reports/evaluations/NAME)")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    options = parser.parse_args(arguments)
    if options.network is not None:
        from pipelines.evaluate.external import evaluate_file  # the stage itself needs no reader of foreign files

        # Numbers of a part of the images are not those of the images: none is left out unless it is asked for.
        params = load(overrides=["prepare.max_bad_share=0", *options.overrides])
        report = evaluate_file(params, options.network, options.data, options.out)
    elif options.data is not None or options.out is not None:
        parser.error("--data and --out go with --network; the stage evaluates models/generator.safetensors")
    else:
        params, root = load(overrides=options.overrides), Path.cwd()
        journal = Journal(ROOT / "runs" / train_json.read(root).fingerprint)
        with publishing(journal, params.tracking):
            report = evaluate(params, root, ROOT / "runs" / "features")
            record_evaluation(journal, report, params)
    print(metrics_json.table(report), frontier.table(report.truncation), report.recommended.sentence, sep="\n")


if __name__ == "__main__":
    try:
        with stop_on_signals():
            main()
    except (EvaluationError, FileNotFoundError, StoreError, ValueError) as error:  # every error of ours is one of these
        sys.exit(f"evaluate: {error}")
