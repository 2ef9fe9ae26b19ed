"""Runs that differ in train.seed alone: the mean and spread of their numbers, and which differences exceed the spread.

A difference is claimed where Welch's interval (Welch 1947) excludes 0. It takes the spread of each side from its own
runs. It is not paired by seed: equal seeds give two configurations equal first weights and orders of images, but
training is chaotic. A change in rounding alone parts two runs as far as another seed does, so pairs have nothing in
common that would cancel, and pairing would only halve the degrees of freedom.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev, variance
from typing import Literal

from scipy.special import stdtrit

from pipelines.artifacts.metrics_json import Metrics
from stylegan.metrics.evaluation.metric import Bounds, Metric, by_name

LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """How much the mean of some runs is above that of others."""

    value: float
    interval: Bounds | None  # of what endlessly many runs of each would give; None if a side has a single run

    @property
    def is_claimed(self) -> bool:
        """Whether it exceeds the spread between runs"""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high


def over_runs(runs: Sequence[Metrics]) -> Metrics:
    """Mean and sample standard deviation of each number that all runs have; those of a single run as they are

    The interval of a run, which is for drawing its images again, says nothing of the mean and is left out.
    """
    if len(runs) == 1:
        return runs[0]
    numbers = [by_name(run) for run in runs]
    common = [metric for metric in runs[0] if all(metric.name in found for found in numbers)]
    return tuple(_mean(metric, [found[metric.name].value for found in numbers]) for metric in common)


def _mean(metric: Metric, values: Sequence[float]) -> Metric:
    sd = _digits(stdev(values)) if all(map(math.isfinite, values)) else None
    return metric.model_copy(update={"value": _digits(fmean(values)), "interval": None, "sd": sd})


def _digits(value: float) -> float:
    """As many as metrics.json has"""
    return float(f"{value:.6g}")


def difference(ones: Sequence[float], others: Sequence[float], level: float = LEVEL) -> Difference:
    """The mean of `ones` above that of `others`, each a number per run, with Welch's interval"""
    value = fmean(ones) - fmean(others)
    if min(len(ones), len(others)) < 2 or not math.isfinite(value):
        return Difference(value, None)
    squared = [variance(side) / len(side) for side in (ones, others)]  # standard errors of the means
    if sum(squared) == 0:  # runs that are all alike have no spread to judge by
        return Difference(value, None)
    shares = (one**2 / (len(side) - 1) for one, side in zip(squared, (ones, others), strict=True))
    half = float(stdtrit(sum(squared) ** 2 / sum(shares), (1 + level) / 2)) * math.sqrt(sum(squared))
    return Difference(value, Bounds(value - half, value + half))


def level_for(num_claims: int) -> float:
    """Level of each interval at which any of so many claims is false in 5% at most (Bonferroni)"""
    return 1 - (1 - LEVEL) / max(num_claims, 1)


def verdict_of(found: Difference) -> Literal["better", "worse"] | None:
    """ "better" or "worse" of a distance whose difference is claimed"""
    if not found.is_claimed:
        return None
    return "better" if found.value < 0 else "worse"
