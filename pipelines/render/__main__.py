"""`python -m pipelines.render`: render what params.yaml says, with `section.key=value` arguments over it."""

import sys
from pathlib import Path

from pipelines.artifacts import train_json
from pipelines.cluster.signals import stop_on_signals
from pipelines.params import ROOT, load
from pipelines.render.report import RenderError, render
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import publishing
from pipelines.tracking.recording import record_report


def main() -> None:
    """Render what params.yaml says, with `section.key=value` arguments over it, and record it for MLflow."""
    params = load(overrides=sys.argv[1:])
    root = Path.cwd()
    page = render(params, root)
    journal = Journal(ROOT / "runs" / train_json.read(root).fingerprint)
    with publishing(journal, params.tracking):
        record_report(journal, root / "reports")
    print(f"report: {page}")


if __name__ == "__main__":
    try:
        with stop_on_signals():
            main()
    except (FileNotFoundError, RenderError, ValueError) as error:  # every error of ours is one of these
        sys.exit(f"render: {error}")
