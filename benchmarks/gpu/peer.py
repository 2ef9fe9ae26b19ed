"""The official implementation on the same card, as a black box: its own train.py, and the statistics that it writes.

What it is told and what it writes are documented options and files; nothing of its sources is read. nursing/ says what
it needs under a torch of today. Not tried here: whether its console, files and extensions are as documented on the
machine at hand; where they are not, the reason is the last line that it printed.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.gpu.job import CannotRunError, Job
from benchmarks.gpu.pictures import write_zip
from benchmarks.workload import P

BATCHES = (64, 16)  # at 256 pixels, with the networks of paper256
IMAGES, PIXELS = 500, 256
POLL_SEC = 0.5
LEAST_SEC = 30.0  # to begin another batch size
MARGIN_SEC = 3.0  # to stop it before this section is stopped
PHASES = ("Gmain", "Greg", "Dmain", "Dreg")


def run(job: Job) -> None:
    """Train with each batch size until its second report, which is of whole steps."""
    if job.options.peer is None:
        raise CannotRunError("no --peer FOLDER was given")
    folder = Path(job.options.peer).resolve()
    if not (folder / "train.py").is_file():
        raise CannotRunError(f"--peer {folder}: no train.py there. Name the folder of the official implementation.")
    with TemporaryDirectory() as work:
        data = Path(work) / "tiles.zip"
        write_zip(data, 8 if job.options.tiny else IMAGES, 16 if job.options.tiny else PIXELS)
        for batch in BATCHES[:1] if job.options.tiny else BATCHES:
            if batch != BATCHES[0] and job.left_sec < LEAST_SEC:
                job.say(f"{PIXELS}/{batch}: no time left")
                return
            found = measure(job, folder, data, batch, Path(work))
            job.record(found, f"{PIXELS}/{batch}")
            job.say(text(batch, found))


def measure(job: Job, folder: Path, data: Path, batch: int, work: Path) -> dict[str, Any]:
    """sec/kimg, milliseconds of phases and peak memory of its second report, or why there is none"""
    out = work / f"batch{batch}"
    command = [sys.executable, "train.py", f"--outdir={out}", f"--data={data}", "--gpus=1", "--cfg=paper256"]
    command += [f"--batch={batch}", "--aug=fixed", f"--p={P}", "--metrics=none", "--snap=1000", "--kimg=1000"]
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parent / "nursing"),
        "TORCH_EXTENSIONS_DIR": str(work / "extensions"),
    }
    log = work / f"batch{batch}.txt"
    with log.open("w") as file:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        while process.poll() is None and job.left_sec > MARGIN_SEC:
            rows = list(reports(out))
            if len(rows) > 1:
                return summary(rows[1])
            time.sleep(POLL_SEC)
        rows = list(reports(out))
        if len(rows) > 1:
            return summary(rows[1])
    finally:
        process.kill()
        process.wait()
    told = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    why = "ended early" if process.returncode not in (-9, 0) else "no second report in time"
    return {"error": f"{why}: {told[-1][:150] if told else 'it printed nothing'}"}


def reports(out: Path) -> Iterator[dict[str, Any]]:
    """Lines of stats.jsonl in its run's folder, as far as they are whole"""
    for path in sorted(out.glob("*/stats.jsonl")):
        for line in path.read_text().splitlines():
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return


def summary(row: dict[str, Any]) -> dict[str, Any]:
    """The numbers of interest; None for what it does not write"""

    def mean(name: str) -> float | None:
        return row[name]["mean"] if name in row else None

    return {
        "sec_per_kimg": mean("Timing/sec_per_kimg"),
        "peak_gb": mean("Resources/peak_gpu_mem_gb"),
        "phases": {phase: mean(f"Timing/{phase}") for phase in PHASES},
        "kimg": mean("Progress/kimg"),
    }


def text(batch: int, found: dict[str, Any]) -> str:
    """One line"""
    if "error" in found:
        return f"official {PIXELS}/{batch} fp16: {found['error']}"
    phases = " ".join(f"{name} {'-' if ms is None else f'{ms:.1f}'}" for name, ms in found["phases"].items())
    return f"official {PIXELS}/{batch} fp16: {found['sec_per_kimg']} s/kimg, {phases} ms, {found['peak_gb']} GB"
