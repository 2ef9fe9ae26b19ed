"""`python -m pipelines.train`: train what params.yaml says, with `section.key=value` arguments over it."""

import sys
from pathlib import Path

from pipelines.artifacts.artifact import ArtifactError
from pipelines.cluster.signals import stop_on_signals
from pipelines.cluster.store import StoreError
from pipelines.params import ROOT, load
from pipelines.train.driver import TrainError, run
from stylegan.config import ConfigError
from stylegan.data import ArchiveError
from stylegan.metrics.arrays import MetricError
from stylegan.tensor_files import CheckpointError


def main() -> None:
    """Train what params.yaml says, with `section.key=value` arguments over it."""
    run(load(overrides=sys.argv[1:]), Path.cwd(), ROOT / "runs")


if __name__ == "__main__":
    try:
        with stop_on_signals():
            main()
    except (
        ArchiveError, ArtifactError, CheckpointError, ConfigError, FileNotFoundError, MetricError, StoreError,
        TrainError,
    ) as error:  # fmt: skip
        sys.exit(f"train: {error}")
