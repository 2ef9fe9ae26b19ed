"""`make ablate LADDER=stylegan2`: the rows of a ladder, one after the other  ->  reports/ablate/<ladder>/.

    python -m pipelines.ablate --ladder stylegan2 --rows A,B --kimg 5000 --gpus 8

A row is an ordinary run in runs/<fingerprint>/ with its changes laid over params.yaml (see ladders/ladder.py), and is
measured at psi 1. Rows run one at a time, each on all workers, so that their times are comparable. Killed at any
moment, the same command continues: finished rows are found again, an unfinished one resumes. A row that fails is
reported, ends nothing but the command's success, and is tried again by the same command. What is written: see
pipelines/ablate/tables.py.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.cluster.signals import stop_on_signals
from pipelines.command_table import COMMANDS
from pipelines.options import seeds_override
from stylegan.exit_codes import DONE, FAILED, exit_code
from stylegan.text import print_lines


def scaled(options: argparse.Namespace) -> list[str]:
    """Overrides that --kimg, --gpus and --seeds stand for"""
    found = [] if options.kimg is None else [f"ablate.total_kimg={options.kimg}"]
    if options.gpus is not None:
        found += [f"cluster.num_workers={options.gpus}", "cluster.use_gpu=true"]
    return [*found, *seeds_override(options.seeds, "ablate"), *options.overrides]


@exit_code
@stop_on_signals()
def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the rows; returns the exit code, 1 if a row failed."""
    options = COMMANDS["ablate"].parse(arguments)
    # Deferred: --help and a wrong argument are answered before torch and Ray are imported.
    from pipelines.ablate.runner import ablate
    from pipelines.ladders import ladder
    from pipelines.params import ROOT, load

    params, chosen = load(overrides=scaled(options)), ladder.load(options.ladder)
    rows = [name for name in options.rows.split(",") if name]
    reports = Path.cwd() / "reports" / "ablate" / chosen.name
    found = ablate(params, chosen, rows, Path.cwd(), ROOT / "runs", reports)
    print_lines(*(reports / "table.md").read_text().split("\n"))
    print_lines(f"table, page and plots: {reports}")
    return FAILED if any(each.problem for each in found) else DONE


if __name__ == "__main__":
    sys.exit(main())
