"""Counts what a training step asks of a GPU, phase by phase, on meta tensors: operations, bytes, FLOPs, and their time.

    python -m benchmarks.work [--json] [--precision bf16] [--peak-bandwidth 3.0] [--rate 700]

Bytes: of every operation but views, all tensors that it takes or makes, once. Milliseconds: the sum over operations of
the longer of both, moving their bytes and computing their products; launching kernels is not in it. The optimiser's
step is left out; what is made once is in the first phase that needs it. Settings: preset paper256 at 256
pixels, auto for one GPU elsewhere, p 0.6. Needs stylegan/ and torch.
"""

import argparse
import json
import sys
from collections.abc import Iterator

import torch

from benchmarks.counting import count
from benchmarks.settings import config
from benchmarks.workload import prepare, without_optimizers, workload

SIZES = ((64, 64), (256, 16), (256, 64), (1024, 4))  # pixels, images a step
META = torch.device("meta")
COLUMNS = ("operations", "gigabytes", "teraflops", "milliseconds")
Counts = dict[str, dict[str, dict[str, float]]]  # "256/64" -> phase -> column -> number


def counts(precision: str, bytes_per_sec: float, flops_per_sec: float) -> Counts:
    """Every size and phase"""
    result: Counts = {}
    prepare(META, "auto")  # what a GPU would compute
    for resolution, batch in SIZES:
        forget()
        work = without_optimizers(workload(config(resolution, batch, precision), META))
        result[f"{resolution}/{batch}"] = {
            phase: count(run).summary(bytes_per_sec, flops_per_sec) for phase, run in work.phases.items()
        }
    return result


def forget() -> None:
    """Drop what functions keep from earlier calls, so that every size counts what a new process would."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "stylegan":
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def lines(found: Counts) -> Iterator[str]:
    """A table for people"""
    yield "size        phase  operations     GB   TFLOP       ms"
    for size, phases in found.items():
        for phase, row in phases.items():
            operations, gigabytes, teraflops, milliseconds = (row[column] for column in COLUMNS)
            yield f"{size:11} {phase:6} {operations:10,} {gigabytes:6.1f} {teraflops:7.2f} {milliseconds:8.1f}"


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--precision", choices=("bf16", "fp16", "fp32"), default="bf16", help="default: bf16")
    parser.add_argument("--peak-bandwidth", type=float, default=3.0, metavar="TB/S", help="default: 3.0, an H100's")
    parser.add_argument("--rate", type=float, default=700.0, metavar="TFLOP/S", help="default: 700, an H100's in half")
    given = parser.parse_args()
    found = counts(given.precision, given.peak_bandwidth * 1e12, given.rate * 1e12)
    print(json.dumps(found, indent=1) if given.json else "\n".join(lines(found)))


if __name__ == "__main__":
    main()
