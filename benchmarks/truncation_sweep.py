"""What a sweep over K truncations costs next to one evaluation: `python -m benchmarks.truncation_sweep`.

Of models/generator.safetensors against data/archive.zip as params.yaml says, in one process, real features included.
Processor time, so that other work on the machine matters little. The goal: at most 1 + 0.9 K times one evaluation.
"""

import sys
import time
from collections.abc import Iterable
from pathlib import Path

import torch

from pipelines.evaluate.measurement import open_matching
from pipelines.evaluate.on_cluster import make_evaluator
from pipelines.params import Params, load
from stylegan.checkpoint import load_generator
from stylegan.metrics.evaluation.evaluator import Reference, Sweep

PSIS = (1.0, 0.5, 0.7, 0.85, 0.3, 0.6, 0.8, 0.9)
COUNTS = (1, 2, 4, 8)


def cost_sec(params: Params, num_psis: int) -> float:
    """Processor seconds of a whole evaluation at so many truncations"""
    G = load_generator(Path("models/generator.safetensors"))
    dataset = open_matching(Path("data/archive.zip"), G)
    evaluator = make_evaluator(params.evaluate, dataset, Path("assets"))

    def track(batches: Iterable[range], images_per_row: int) -> Iterable[range]:
        return batches

    start = time.process_time()
    reference = Reference(evaluator.statistics(dataset, track), dataset.labels(range(len(dataset))))
    evaluator.measure([Sweep("generator", G, PSIS[:num_psis])], reference, track)
    return time.process_time() - start


def main() -> None:
    """Print a table. Arguments are overrides of params.yaml."""
    params = load(overrides=sys.argv[1:])
    torch.set_num_threads(1)
    one = cost_sec(params, 1)
    print(f"{'K':>3}{'seconds':>10}{'of one':>9}{'1 + 0.9 K':>11}")
    for count in COUNTS:
        cost = one if count == 1 else cost_sec(params, count)
        print(f"{count:>3}{cost:>10.1f}{cost / one:>9.2f}{1 + 0.9 * count:>11.2f}", flush=True)


if __name__ == "__main__":
    main()
