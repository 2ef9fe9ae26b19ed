"""What a training took on the machine at hand, in one line: shown and recorded, and in no output of a stage."""

import statistics
from collections.abc import Mapping, Sequence


def describe_costs(ticks: Sequence[Mapping[str, float]]) -> str:
    """ "25 kimg in 4 min 05 s of training, 9.80 s/kimg (median)"; interruptions do not count"""
    speed = statistics.median(tick["sec_per_kimg"] for tick in ticks)  # a resumed run has slow ticks at each beginning
    sec = sum(tick["sec"] for tick in ticks)
    return f"{ticks[-1]['kimg']:g} kimg in {duration(sec)} of training, {speed:.2f} s/kimg (median)"


def duration(seconds: float) -> str:
    """Seconds as "3 h 02 min", "4 min 05 s" or "7.0 s" """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
