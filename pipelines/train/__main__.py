"""`python -m pipelines.train`: train what params.yaml says, with `section.key=value` arguments over it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.cluster.signals import stop_on_signals
from pipelines.command_table import COMMANDS
from stylegan.exit_codes import exit_code


@exit_code
@stop_on_signals()
def main(arguments: Sequence[str] | None = None) -> None:
    """Train what params.yaml says, with `section.key=value` arguments over it."""
    options = COMMANDS["train"].parse(arguments)
    # Deferred: --help and a wrong argument are answered before torch and Ray are imported.
    from pipelines.params import ROOT, load
    from pipelines.train.driver import run

    run(load(overrides=options.overrides), Path.cwd(), ROOT / "runs")


if __name__ == "__main__":
    sys.exit(main())
