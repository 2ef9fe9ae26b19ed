"""Images per second of each way to bring data to the device, by benchmarks/data.py."""

import importlib.util
import json
import subprocess
import sys

from benchmarks.gpu.job import CannotRunError, Job

LAST = 8  # lines that are printed


def run(job: Job) -> None:
    """Call it, and keep what it prints."""
    if importlib.util.find_spec("benchmarks.data") is None:
        raise CannotRunError("this version has no benchmarks/data.py")
    command = [sys.executable, "-m", "benchmarks.data", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"benchmarks.data: {done.stderr.strip().splitlines()[-1][:150]}")
    found = json.loads(done.stdout)
    job.record(found, "ways")
    for name, values in list(found.items())[:LAST]:
        job.say(f"{name}: {json.dumps(values)}")
