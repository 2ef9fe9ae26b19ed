"""Times the training step of params.yaml on this machine, on random images, for each precision and number of threads.

    python -m benchmarks.training_step [section.key=value ...]

The lazy regularisers run on some steps only, so a period of both is timed and shared out.
"""

import math
import os
import statistics
import sys
import time
from collections.abc import Sequence

import torch
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from pipelines.params import load
from pipelines.plan import CHANNELS
from stylegan.config import Config
from stylegan.state import TrainState
from stylegan.train import Trainer

PERIODS = 3  # timed after one that warms up


def seconds_per_step(config: Config) -> list[float]:
    """Mean seconds of a step, for each period of the regularisers."""
    resolution, channels = config.prepare.resolution, CHANNELS[config.prepare.mode]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    state = TrainState.create(config, img_resolution=resolution, img_channels=channels, c_dim=0, device=device)
    trainer = Trainer(state, lambda n: torch.zeros(n, 0, device=device))
    img = torch.rand(config.train.batch_size, channels, resolution, resolution, device=device) * 2 - 1
    c = torch.zeros(len(img), 0, device=device)
    steps = math.lcm(config.loss.g_reg_interval, config.loss.d_reg_interval)
    result = []
    for _ in range(1 + PERIODS):
        start = time.perf_counter()
        for _ in range(steps):
            trainer.step(img, c)
        if device.type == "cuda":
            torch.cuda.synchronize()
        result.append((time.perf_counter() - start) / steps)
    return result[1:]


def main(overrides: Sequence[str]) -> None:
    """Print one row for each precision and number of threads."""
    cores = os.cpu_count() or 1
    table = Table("precision", "threads", "ms per step", "spread", "sec per kimg", box=SIMPLE)
    for precision in ("fp32", "bf16"):
        for threads in sorted({1, cores}):
            torch.set_num_threads(threads)
            config = load(overrides=[*overrides, f"train.precision={precision}"])
            times = seconds_per_step(config)
            step = statistics.median(times)
            spread = f"{1000 * min(times):.0f} to {1000 * max(times):.0f}"
            kimg = 1000 / config.train.batch_size * step
            table.add_row(precision, str(threads), f"{1000 * step:.0f}", spread, f"{kimg:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
