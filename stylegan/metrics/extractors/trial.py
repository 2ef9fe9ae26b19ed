"""Tries a network of the user's own in a process that is ended when it takes too much: such a file is a program.

The process may use a bounded processor time and memory, both larger for larger files. It cannot write files, and sees
no GPU. What it takes to start Python is not counted.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from stylegan.metrics.arrays import MetricError
from stylegan.text import shorten

MAX_SEC, BYTES_PER_SEC = 8, 10**7  # of processor time: so much, and a second more for so many bytes of the file
MAX_BYTES, BYTES_PER_BYTE = 10**9, 4  # of memory: so much, and so much more for each byte of the file
MAX_WAIT_SEC = 600.0  # for a process that waits, or for its turn on a busy machine
CODE = "from stylegan.metrics.extractors import model_files, trial; trial.main(model_files.examine)"


@dataclass(frozen=True)
class Trial:
    """How a file is to be called, and what it makes."""

    dtype: str  # "uint8" | "float32": what it takes
    num_features: int


Examine = Callable[[Path, int], Trial]  # raises MetricError


def run(path: Path, input_size: int) -> Trial:
    """Try a file in another process. Raises MetricError if it is of no use, or takes more than the limits."""
    status, answer = execute(path, input_size)
    if status == 0:
        found = json.loads(answer)
        if "error" in found:
            raise MetricError(found["error"])
        return Trial(**found)
    if -status in (signal.SIGXCPU, signal.SIGKILL):
        what = f"takes more than {max_sec(path)} s of processor time or {max_bytes(path):,} bytes to try"
    else:
        what = f"ends the process that tries it (status {status})"
    raise MetricError(f"{path}: {what}. Use another file, or a lower evaluate.extractor_input_size.")


def execute(path: Path, input_size: int) -> tuple[int, bytes]:
    """Exit status and answer of a process that tries a file"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", CODE, str(path), *map(str, (input_size, max_sec(path), max_bytes(path)))]
    try:
        done = subprocess.run(
            command, env=environment, timeout=MAX_WAIT_SEC, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL, b""
    return done.returncode, done.stdout


def main(examine: Examine) -> None:
    """Of the other process: try the file that the command line names, and answer on stdout, where nothing else goes."""
    path, numbers = Path(sys.argv[1]), map(int, sys.argv[2:])
    target = os.dup(sys.stdout.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # a script can print
    os.write(target, answer(examine, path, *numbers))


def answer(examine: Examine, path: Path, input_size: int, most_sec: int, most_bytes: int) -> bytes:
    """What this process, which has its limits from now on, finds"""
    limit(most_sec, most_bytes)
    try:
        found = asdict(examine(path, input_size))
    except MetricError as error:
        found = {"error": str(error)}
    except MemoryError:
        found = {"error": f"{path}: takes more than {most_bytes:,} bytes of memory to try. Use another file."}
    except Exception as error:  # whatever the runtimes of such files raise
        reason = shorten((str(error).strip().splitlines() or [type(error).__name__])[0], 1000)
        found = {"error": f"{path}: cannot be used ({reason}). Use another file."}
    return json.dumps(found).encode()


def limit(most_sec: int, most_bytes: int) -> None:
    """Bound processor time, memory and files of this process; what it used before does not count."""
    import torch

    torch.set_num_threads(1)  # each thread reserves memory that it does not use
    used = resource.getrusage(resource.RUSAGE_SELF)
    used_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = {
        resource.RLIMIT_CPU: int(used.ru_utime + used.ru_stime) + 1 + most_sec,
        resource.RLIMIT_AS: used_bytes + most_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in limits.items():
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def max_sec(path: Path) -> int:
    """Seconds of processor time that trying a file may take"""
    return MAX_SEC + path.stat().st_size // BYTES_PER_SEC


def max_bytes(path: Path) -> int:
    """Bytes of memory that trying a file may take"""
    return MAX_BYTES + BYTES_PER_BYTE * path.stat().st_size
