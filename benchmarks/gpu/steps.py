"""Phases of a step and sec/kimg, compared with their convolutions alone; peak memory; how busy the device is."""

import gc
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.counting import Convolution, convolutions
from benchmarks.gpu.job import Job
from benchmarks.gpu.timing import busy, milliseconds, peak_gb, synchronize, wall_milliseconds
from benchmarks.settings import TINY, config
from benchmarks.workload import Workload, prepare, without_optimizers, workload
from stylegan.config.sections import Kernels

SIZES = ((256, 64), (256, 16), (64, 64), (1024, 4), (512, 16))  # pixels, images a step; the most telling first
PERIOD = 16  # steps in which every phase ran: the schedule of the lazy regularisers
G_INTERVAL, D_INTERVAL = 4, 16  # steps between runs of Greg and of Dreg
REPEATS = 5
STEPS_SPEED = "sec_per_kimg_of_steps"
LEAST_SEC = 5.0  # to begin another cell; one that is cut off loses its own numbers only


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    resolution: int
    batch: int
    precision: str
    choice: Kernels

    @property
    def size(self) -> str:
        return f"{self.resolution}/{self.batch}"


def cells(tiny: bool) -> Iterator[Cell]:
    """What plan writes from 256 pixels on first, float32 last; stock torch at 256 pixels only"""
    sizes = ((TINY, 4),) if tiny else SIZES
    for precision in ("fp16",) if tiny else ("bf16", "fp16", "fp32"):
        for resolution, batch in sizes:
            yield Cell(resolution, batch, precision, "auto")
            if resolution in (256, TINY):
                yield Cell(resolution, batch, precision, "stock")


def run(job: Job) -> None:
    """Measure cell after cell; a cell that fails, for want of memory say, is recorded and the next one follows."""
    for cell in cells(job.options.tiny):
        if job.left_sec < LEAST_SEC:
            job.say(f"{cell.size} {cell.precision} {cell.choice} and what follows: no time left")
            return
        try:
            measured = measure(cell, job.device, *((1, 4) if job.options.tiny else (REPEATS, PERIOD)))
        except Exception as error:  # one cell must not cost the others
            measured = {"error": str(error).splitlines()[0][:200]}
        job.record(measured, cell.size, cell.precision, cell.choice)
        job.say(line(cell, measured))
        gc.collect()
        if job.device.type == "cuda":
            torch.cuda.empty_cache()


def measure(cell: Cell, device: torch.device, repeats: int, steps: int) -> dict[str, Any]:
    """Everything about one cell: medians of `repeats` calls, and the clock over `steps` steps"""
    prepare(device, cell.choice)
    settings = config(cell.resolution, cell.batch, cell.precision, kernels=cell.choice)
    calls = recorded(settings)
    peak_gb(device)
    phases: dict[str, dict[str, float]] = {}
    work = workload(settings, device)
    warm_up_ms = wall_milliseconds(work.step, device)  # a step with all phases; autotunes every convolution
    peak_gb(device)  # forgets what the search for algorithms took
    for name, phase in work.phases.items():
        ms = milliseconds(phase, device, repeats=repeats)
        phases[name] = {"ms": ms, "peak_gb": peak_gb(device)}
    schedule = sec_per_kimg(work, device, steps)
    busy_ms, num_kernels = busy_or_nan(work, device)
    del work, phase  # each holds the networks
    for name, found in phases.items():
        alone = convolutions_ms(calls[name], device, repeats)
        found |= {"convolutions_ms": alone, "ratio": found["ms"] / alone}
    return {
        "phases": phases,
        "sec_per_kimg": lazy(phases, "ms") / cell.batch,
        "convolutions_sec_per_kimg": lazy(phases, "convolutions_ms") / cell.batch,
        STEPS_SPEED: schedule,
        "peak_gb": max(found["peak_gb"] for found in phases.values()),
        "warm_up_sec": warm_up_ms / 1000,
        "Gmain_busy": busy_ms / phases["Gmain"]["ms"],
        "Gmain_kernels": num_kernels,
    }


def lazy(phases: dict[str, dict[str, float]], column: str) -> float:
    """Milliseconds of a step on average, the regularisers shared out"""
    share = {"Gmain": 1.0, "Greg": 1 / G_INTERVAL, "Dmain": 1.0, "Dreg": 1 / D_INTERVAL}
    return sum(share[name] * found[column] for name, found in phases.items())


def sec_per_kimg(work: Workload, device: torch.device, steps: int) -> float:
    """Of steps one after the other, on the clock"""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(steps):
        work.step()
    synchronize(device)
    return (time.perf_counter() - start) / steps / len(work.img) * 1000


def recorded(settings: Any) -> dict[str, dict[Convolution, int]]:
    """Convolutions of each phase, second derivatives' included, seen on meta tensors"""
    work = without_optimizers(workload(settings, torch.device("meta")))
    return {name: convolutions(phase) for name, phase in work.phases.items()}


def busy_or_nan(work: Workload, device: torch.device) -> tuple[float, int]:
    """Of Gmain, as `busy`; a profiler that does not work here costs no other number."""
    try:
        return busy(work.phases["Gmain"], device)
    except Exception:  # whatever the profiler's library raises
        return math.nan, 0


def convolutions_ms(calls: dict[Convolution, int], device: torch.device, repeats: int) -> float:
    """All of a phase, one after the other; NaN where one of them fails by itself, for want of memory say"""
    try:
        return sum(times * convolution_ms(call, device, repeats) for call, times in calls.items())
    except RuntimeError:
        return math.nan


def convolution_ms(call: Convolution, device: torch.device, repeats: int) -> float:
    """One convolution (or its gradients), alone, channels last"""
    made = [None if spec is None else _tensor(*spec, device) for spec in call.tensors]
    function = getattr(torch.ops.aten, call.func)
    return milliseconds(lambda: function(*made, *call.rest), device, repeats=repeats, warm_up=2)


def _tensor(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    values = torch.randn(shape, device=device).to(dtype)
    return values.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else values


def line(cell: Cell, measured: dict[str, Any]) -> str:
    """What comes back, short: of each phase ms and its ratio to its convolutions"""
    start = f"{cell.size} {cell.precision} {cell.choice}:"
    if "error" in measured:
        return f"{start} failed: {measured['error']}"
    phases = " ".join(f"{name} {row['ms']:.1f} ({row['ratio']:.1f}x)" for name, row in measured["phases"].items())
    speed = ", ".join(
        f"{name} {measured[column]:.2f}"
        for name, column in (("s/kimg", "sec_per_kimg"), ("steps", STEPS_SPEED), ("conv", "convolutions_sec_per_kimg"))
    )
    return f"{start} {phases} | {speed} | {measured['peak_gb']:.1f} GB busy {measured['Gmain_busy']:.0%}"
