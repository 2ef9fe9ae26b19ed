"""How often a training reports and takes a snapshot, in minutes of the machine that it is planned for."""

import math

from pipelines.plan.origins import Choice, Choices

TICK_SEC = 60.0  # a line, a row of the log
SNAPSHOT_SEC = 600.0  # images, measurements, a checkpoint
SNAPSHOT_SHARE = 0.05  # of the time, at most, that measuring snapshots takes
MOST_SNAPSHOTS = 200  # their images stay on the disk; more only where one would take
LONGEST_SEC = 4 * 3600.0  # which is as long as anybody should wait for the next


def pace_choices(total_kimg: float, batch_size: int, sec_per_kimg: float, snapshot_sec: float) -> Choices:
    """Intervals of ticks and snapshots

    sec_per_kimg: of the whole plan; snapshot_sec: what measuring one takes.
    """
    tick = tick_kimg(batch_size, sec_per_kimg, total_kimg)
    wanted = max(
        SNAPSHOT_SEC, min(total_kimg * sec_per_kimg / MOST_SNAPSHOTS, LONGEST_SEC), snapshot_sec / SNAPSHOT_SHARE
    )
    ticks = max(1, min(round(wanted / sec_per_kimg / tick), math.ceil(total_kimg / tick)))
    every = f"about {minutes(tick * sec_per_kimg)} at {sec_per_kimg:.3g} sec/kimg"
    snapshots = f"images every {minutes(ticks * tick * sec_per_kimg)}, {math.ceil(total_kimg / tick / ticks)} in all"
    return {"train.tick_kimg": Choice(tick, every), "train.snapshot_ticks": Choice(ticks, snapshots)}


def tick_kimg(batch_size: int, sec_per_kimg: float, total_kimg: float) -> float:
    """The largest of 1, 2, 5, 10 ... kimg and their tenths within a minute and a tenth of the run; a step at least"""
    longest, step = min(TICK_SEC / sec_per_kimg, total_kimg / 10), batch_size / 1000
    sizes = [float(f"{digit}e{power}") for power in range(-4, 5) for digit in (1, 2, 5)]
    return max([size for size in sizes if step <= size <= longest], default=min(size for size in sizes if size >= step))


def minutes(sec: float) -> str:
    """90 -> "1.5 min", 7200 -> "2 h", 360000 -> "4.2 days" """
    for unit, size in (("years", 365.25 * 86400), ("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if sec >= (1.5 if unit in ("years", "days") else 1) * size:
            return f"{sec / size:.2g} {unit}" if sec < 10 * size else f"{sec / size:.0f} {unit}"
    return f"{sec:.2g} s" if sec < 10 else f"{sec:.0f} s"
