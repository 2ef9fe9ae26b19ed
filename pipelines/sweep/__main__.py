"""`make sweep`: Ray Tune over parameters of training, every trained generator measured at every psi -> reports/sweep/.

    python -m pipelines.sweep --kimg 200 --gpus 8 sweep.scheduler=asha

Runs what the section `sweep` of params.yaml says. Killed at any moment, the same command continues: finished trials are
found again, unfinished ones resume, stopped ones stay stopped. A trial that fails is reported and ends nothing; the
same command tries it again. What is written: see pipelines/sweep/findings.py.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.cluster.signals import stop_on_signals
from pipelines.command_table import COMMANDS
from pipelines.options import seeds_override
from stylegan.exit_codes import exit_code
from stylegan.text import print_lines


def scaled(options: argparse.Namespace) -> list[str]:
    """Overrides that --kimg, --gpus and --seeds stand for"""
    found = [] if options.kimg is None else [f"sweep.total_kimg={options.kimg}"]
    if options.gpus is not None:
        found += [f"sweep.max_concurrent_trials={options.gpus}", "sweep.gpus_per_worker=1.0"]
        found += ["sweep.cpus_per_worker=1.0"]
    return [*found, *seeds_override(options.seeds, "sweep"), *options.overrides]


@exit_code
@stop_on_signals()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the trials and show what they found."""
    options = COMMANDS["sweep"].parse(arguments)
    # Deferred: --help and a wrong argument are answered before torch and Ray are imported.
    from pipelines.params import ROOT, load
    from pipelines.sweep import findings
    from pipelines.sweep.tuner import sweep

    params = load(overrides=scaled(options))
    reports = Path.cwd() / "reports" / "sweep"
    found = sweep(params, Path.cwd(), ROOT / "runs", reports)
    print_lines(*findings.summary(found).split("\n"))
    print_lines(f"table, plots and best.yaml: {reports}")


if __name__ == "__main__":
    sys.exit(main())
