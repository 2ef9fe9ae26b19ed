"""Checks and times this project on the GPU at hand, in one call of a few minutes.

    python -m benchmarks.gpu --seconds 480 [--peer FOLDER] [--sections correctness,steps]
    python -m benchmarks.gpu --seconds 120 --device cpu --tiny

Sections run in the order below, the most valuable first, each in a process with a time limit. Every result is printed
when it is there; gpu.json in the folder --out holds all of them. Needs stylegan/, benchmarks/, torch, numpy and
pydantic; peer, loader and training also pillow, training and the resumed steps of correctness also safetensors. Kernels
need a C compiler and Python's headers. `python -m benchmarks.performance_page` makes docs/performance.md from the file.
"""

import argparse
import sys
from collections.abc import Sequence

import torch

from benchmarks.gpu import machine
from benchmarks.gpu.job import Options
from benchmarks.gpu.supervisor import Section, supervise

# What one section leaves of its share, the last one may use; shares add up to more than 1 for that.
SECTIONS = (
    Section("correctness", "benchmarks.gpu.correctness", 0.18, 2000),
    Section("steps", "benchmarks.gpu.steps", 0.34, 3600),
    Section("kernels", "benchmarks.gpu.kernels", 0.10, 2000),
    Section("peer", "benchmarks.gpu.peer", 0.25, 600),
    Section("loader", "benchmarks.gpu.loader", 0.06, 900),
    Section("training", "benchmarks.gpu.training", 0.30, 900),
)
VERSION = 1  # of the form of gpu.json


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [section.name for section in SECTIONS]
    parser.add_argument("--seconds", type=float, default=480, help="time for all sections (default: 480)")
    parser.add_argument("--sections", default=",".join(names), help=f"which, by name (default: {','.join(names)})")
    parser.add_argument("--peer", metavar="FOLDER", help="the official implementation, to time next to this project")
    parser.add_argument("--data", metavar="FOLDER", help="images to train on (default: images it makes)")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="default: cuda")
    parser.add_argument("--tiny", action="store_true", help="networks of 16 pixels, to rehearse the call")
    parser.add_argument("--out", default="reports/gpu", metavar="FOLDER", help="default: reports/gpu")
    given = parser.parse_args(arguments)
    wanted = given.sections.split(",")
    unknown = [name for name in wanted if name not in names]
    if unknown:
        sys.exit(f"--sections: {', '.join(unknown)} is not a section. Choose from {', '.join(names)}.")
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit("--device cuda: torch sees no CUDA GPU. Add --device cpu --tiny to rehearse the call.")
    options = Options(given.device, given.tiny, given.peer, given.data, given.out)
    report = {"version": VERSION, "seconds": given.seconds, "tiny": given.tiny, "machine": machine.facts(given.device)}
    supervise([section for section in SECTIONS if section.name in wanted], options, given.seconds, report)


if __name__ == "__main__":
    main()
