"""Images per second of each way to bring data to the device, by benchmarks/data.py."""

import importlib
from dataclasses import asdict
from itertools import islice
from pathlib import Path

from benchmarks.gpu.job import CannotRunError, Job

RESOLUTIONS = (256, 1024, 512)  # pixels
SECONDS = 0.5  # for each way
LEAST_SEC = 2.0  # to begin another way


def run(job: Job) -> None:
    """Every way at every resolution, as far as the time goes."""
    if not (Path(__file__).parents[1] / "data.py").exists():
        raise CannotRunError("this version has no benchmarks/data.py")
    data = importlib.import_module("benchmarks.data")
    for resolution in RESOLUTIONS[:1] if job.options.tiny else RESOLUTIONS:
        rows = data.rows_of(resolution, job.device, 0.02 if job.options.tiny else SECONDS)
        for row in islice(rows, 2) if job.options.tiny else rows:
            job.record(asdict(row), f"{row.resolution}, {row.way}")
            job.say(f"{row.resolution} {row.way}: {row.per_sec:.0f} images/s, {row.cpu_ms:.2f} CPU ms an image")
            if job.left_sec < LEAST_SEC:
                job.say("what follows: no time left")
                return
