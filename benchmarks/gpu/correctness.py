"""Whether the device computes what it should: the project's own tests, parity, and which bits are the same twice."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu import bits
from benchmarks.gpu.job import Job
from benchmarks.gpu.parity import NETWORKS, differences
from benchmarks.settings import TINY
from benchmarks.workload import prepare

ROOT = Path(__file__).parents[2]
NEEDED = ("pytest", "pytest_timeout", "hypothesis", "yaml")  # by the tests and their fixtures
GPU_TESTS = re.compile(r"mark\.gpu|kernel_device")  # the fixture that runs kernels on each device
SHOWN = 4  # failures that are printed; the JSON has all
BITS = ((64, 16, "fp32"), (64, 16, "fp16"))  # pixels, images a step, precision


def run(job: Job) -> None:
    """Parity, then bits, then the tests marked gpu."""
    if line := prepare(job.device, "auto"):
        job.say(line)
    compare(job)
    for resolution, batch, precision in ((TINY, 4, "fp16"),) if job.options.tiny else BITS:
        try:
            repeat(job, resolution, batch, precision)
        except Exception as error:  # the tests are still to come
            job.record(str(error)[:200], "bits", f"{resolution}/{batch} {precision}")
            job.say(f"bits {resolution}/{batch} {precision}: failed: {str(error).splitlines()[0]}")
    tests(job)


def compare(job: Job) -> None:
    """Every difference of parity.py"""
    bad, worst = [], 0.0
    for name, compute, limit in differences(job.device, NETWORKS[-1:] if job.options.tiny else NETWORKS):
        try:
            found: float | str = compute()
        except Exception as error:  # one comparison must not cost the others
            found = str(error).splitlines()[0][:200]
        job.record({"difference": found, "limit": limit}, "parity", name)
        if isinstance(found, str) or not found <= limit:
            bad.append(f"{name}: {found}, at most {limit:g}")
        else:
            worst = max(worst, found / limit)
    job.say(f"parity: {len(bad)} too large or failed; the largest of the others is {worst:.2f} of its limit")
    for line in bad[:SHOWN]:
        job.say(f"  {line}")


def repeat(job: Job, resolution: int, batch: int, precision: str) -> None:
    """The same steps again, resumed where safetensors is installed and, in half precision, in another process"""
    size = (resolution, batch, precision, job.device)
    first = bits.train(*size)
    found = {"twice": bits.compare(first, bits.train(*size))}
    if importlib.util.find_spec("safetensors"):
        found["resumed"] = bits.compare(first, bits.train(*size, True))
    if precision != "fp32":
        other, here = bits.elsewhere(*size), bits.digests(first)
        found["another process"] = {name: float(other[name] != here[name]) for name in here}
    name = f"{resolution}/{batch} {precision}"
    job.record(found, "bits", name)
    for kind, values in found.items():
        equal = [part for part, value in values.items() if value == 0]
        unequal = [f"{part} {value:.1e}" for part, value in values.items() if value != 0]
        job.say(f"bits {name} {kind}: equal {', '.join(equal) or 'none'}; different {', '.join(unequal) or 'none'}")
    alerts = bits.alerts(*size)
    job.record(alerts, "nondeterministic", name)
    job.say(f"nondeterministic {name}: {', '.join(alerts) or 'none'}")


def _output(command: list[str], seconds: float) -> tuple[list[str], str]:
    """Lines that pytest printed, and why they are not all; what was done before a cut counts"""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=seconds, check=False)
        output, status = done.stdout, "" if done.stdout else f"exit status {done.returncode}"
    except subprocess.TimeoutExpired as cut:
        output, status = cut.stdout or b"", "cut off by its time:"
    return output.decode(errors="replace").strip().splitlines(), status


def tests(job: Job) -> None:
    """pytest -m gpu, in a process of its own, of the files that have such tests"""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        job.record(f"{', '.join(missing)} not installed", "tests")
        job.say(f"tests marked gpu: not run, {', '.join(missing)} not installed; parity above stands for them")
        return
    tests = sorted((ROOT / "tests").rglob("test_*.py"), key=lambda file: ("kernel" not in file.name, file))
    files = [str(file) for file in tests if GPU_TESTS.search(file.read_text())]
    if job.options.tiny:
        files = files[:1]
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", "--tb=line", *files]
    told, status = _output(command, max(job.left_sec - 3, 1))
    summary = told[-1].strip("= ") if told and not status else " ".join([status, *told[-1:]])
    failed = [line for line in told if re.match("(FAILED|ERROR) ", line)]
    job.record({"summary": summary, "failed": failed}, "tests")
    job.say(f"tests marked gpu: {summary}")
    for line in failed[:SHOWN]:
        job.say(f"  {line}")
