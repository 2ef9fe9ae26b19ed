"""`make sweep`: Ray Tune over parameters of training, every trained generator measured at every psi -> reports/sweep/.

    python -m pipelines.sweep --kimg 200 --gpus 8 sweep.scheduler=asha

Runs what the section `sweep` of params.yaml says. Killed at any moment, the same command goes on: finished trials are
found again, unfinished ones resume, stopped ones stay stopped. A trial that fails is reported and ends nothing; the
same command tries it again. What is written: see pipelines/sweep/findings.py.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.cluster.signals import stop_on_signals
from pipelines.cluster.store import StoreError
from pipelines.params import ROOT, load
from pipelines.sweep import findings
from pipelines.sweep.tuner import SweepError, sweep
from pipelines.train import TrainError


def scaled(options: argparse.Namespace) -> list[str]:
    """Overrides that --kimg and --gpus stand for"""
    found = [] if options.kimg is None else [f"sweep.total_kimg={options.kimg}"]
    if options.gpus is not None:
        found += [f"sweep.max_concurrent_trials={options.gpus}", "sweep.gpus_per_worker=1.0"]
        found += ["sweep.cpus_per_worker=1.0"]
    return [*found, *options.overrides]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.sweep", description="Try parameters and compare.")
    parser.add_argument("--kimg", type=float, help="of each trial (sweep.total_kimg)")
    parser.add_argument("--gpus", type=int, help="one trial on each of so many GPUs")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    params = load(overrides=scaled(parser.parse_args(arguments)))
    reports = Path.cwd() / "reports" / "sweep"
    found = sweep(params, Path.cwd(), ROOT / "runs", reports)
    print(findings.summary(found))
    print(f"table, plots and best.yaml: {reports}")


if __name__ == "__main__":
    try:
        with stop_on_signals():
            main()
    except (FileNotFoundError, StoreError, SweepError, TrainError, ValueError) as error:
        sys.exit(f"sweep: {error}")
