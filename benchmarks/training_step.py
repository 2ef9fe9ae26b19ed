"""Times the training step of params.yaml on this machine, on random images, for each precision and number of threads.

    python -m benchmarks.training_step [section.key=value ...]

The lazy regularisers run on some steps only, so a period of both is timed and shared out.
"""

import os
import statistics
import sys
from collections.abc import Sequence

import torch
from rich.box import SIMPLE
from rich.table import Table

from pipelines.params import load
from pipelines.plan.advice import CHANNELS
from pipelines.plan.cost.timing import seconds_per_step
from stylegan.console import make_console

PERIODS = 3  # timed after one that warms up


def main(overrides: Sequence[str]) -> None:
    """Print one row for each precision and number of threads."""
    cores = os.cpu_count() or 1
    table = Table("precision", "threads", "ms per step", "spread", "sec per kimg", box=SIMPLE)
    for precision in ("fp32", "bf16"):
        for threads in sorted({1, cores}):
            torch.set_num_threads(threads)
            config = load(overrides=[*overrides, f"train.precision={precision}"])
            times = seconds_per_step(config, CHANNELS[config.prepare.mode], PERIODS)
            step = statistics.median(times)
            spread = f"{1000 * min(times):.0f} to {1000 * max(times):.0f}"
            kimg = 1000 / config.train.batch_size * step
            table.add_row(precision, str(threads), f"{1000 * step:.0f}", spread, f"{kimg:.2f}")
    make_console().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
