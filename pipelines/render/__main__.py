"""`python -m pipelines.render`: render what params.yaml says, with `section.key=value` arguments over it."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.cluster.signals import stop_on_signals
from pipelines.command_table import COMMANDS
from stylegan.exit_codes import exit_code
from stylegan.text import print_lines


@exit_code
@stop_on_signals()
def main(arguments: Sequence[str] | None = None) -> None:
    """Render what params.yaml says, with `section.key=value` arguments over it, and record it for MLflow."""
    options = COMMANDS["render"].parse(arguments)
    # Deferred: --help and a wrong argument are answered before torch is imported.
    from pipelines.artifacts import train_json
    from pipelines.params import ROOT, load
    from pipelines.render.report import render
    from pipelines.tracking.journal import Journal
    from pipelines.tracking.publisher import publishing
    from pipelines.tracking.recording import record_report

    params = load(overrides=options.overrides)
    root = Path.cwd()
    page = render(params, root)
    journal = Journal(ROOT / "runs" / train_json.read(root).fingerprint)
    with publishing(journal, params.tracking):
        record_report(journal, root / "reports")
    print_lines(f"report: {page}")


if __name__ == "__main__":
    sys.exit(main())
