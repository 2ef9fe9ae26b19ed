"""Time on a device: events on CUDA, the clock elsewhere."""

import statistics
import time
from collections.abc import Callable

import torch

Run = Callable[[], object]


def milliseconds(run: Run, device: torch.device, *, repeats: int, warm_up: int = 1) -> float:
    """Median time of a call; a device that works ahead is not waited for between calls."""
    for _ in range(warm_up):
        run()
    synchronize(device)
    return statistics.median(
        _on_cuda(run, repeats) if device.type == "cuda" else [_on_clock(run) for _ in range(repeats)]
    )


def wall_milliseconds(run: Run, device: torch.device) -> float:
    """Time of one call until the device has done it all"""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return 1000 * (time.perf_counter() - start)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _on_cuda(run: Run, repeats: int) -> list[float]:
    pairs = []
    for _ in range(repeats):
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        run()
        after.record()
        pairs.append((before, after))
    torch.cuda.synchronize()
    return [before.elapsed_time(after) for before, after in pairs]


def _on_clock(run: Run) -> float:
    start = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - start)


def busy(run: Run, device: torch.device) -> tuple[float, int]:
    """Milliseconds in which the device computed during one call, and the number of kernels

    Records the device's activity only: recording the processor's takes tens of seconds.
    """
    from torch.profiler import ProfilerActivity, profile

    is_cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if is_cuda else ProfilerActivity.CPU]) as recorded:
        run()
        synchronize(device)
    rows = recorded.key_averages()
    times = [row.self_device_time_total if is_cuda else row.self_cpu_time_total for row in rows]
    return sum(times) / 1000, sum(row.count for row, spent in zip(rows, times, strict=True) if spent > 0)


def peak_gb(device: torch.device) -> float:
    """Most memory that tensors took since the last call; 0 on a processor, which does not say"""
    if device.type != "cuda":
        return 0.0
    peak = torch.cuda.max_memory_allocated(device) / 1e9
    torch.cuda.reset_peak_memory_stats(device)
    return peak
