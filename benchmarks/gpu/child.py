"""The process of one section: python -m benchmarks.gpu.child MODULE RESULTS DEADLINE OPTIONS"""

import importlib
import json
import sys
from pathlib import Path

from benchmarks.gpu.job import CannotRunError, Job, Options

SKIPPED = 77  # exit status of a section that cannot run here


def main(module: str, results: str, deadline: str, options: str) -> None:
    """Call the section's `run`."""
    job = Job(Options(**json.loads(options)), Path(results), float(deadline))
    if job.options.tiny:
        import torch

        torch.set_num_threads(1)  # more only hinder each other in networks so small
    try:
        importlib.import_module(module).run(job)
    except CannotRunError as reason:
        print(reason, file=sys.stderr)
        sys.exit(SKIPPED)


if __name__ == "__main__":
    main(*sys.argv[1:])
