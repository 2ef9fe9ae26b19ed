"""What each curve of the training shows, in one line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis.between_runs import LEVEL
from pipelines.diagnosis.shared_rules import is_at_cap, reaches_cap
from pipelines.diagnosis.thresholds import LITTLE, SNAPSHOTS_FOR_TREND
from stylegan.config import Config

Ticks = Sequence[TickRow]
Floats = NDArray[np.float64]
MOST_CORRELATION = 0.95  # of neighbours: with more, the widening has no bound


def ended_at_cap(ticks: Ticks, config: Config) -> bool:
    """Whether the training ended with a cap that keeps augmentation from doing more against overfitting"""
    return bool(ticks) and is_at_cap(ticks[-1], config)


def measured_kids(ticks: Ticks) -> list[tuple[float, TickRow]]:
    """KID of the snapshots that have a finite one, with their rows"""
    found = [(tick.monitor.kid, tick) for tick in ticks if tick.monitor.kid is not None]
    return [(kid, tick) for kid, tick in found if math.isfinite(kid)]


@dataclass(frozen=True)
class Trend:
    """How KID changes with the length of training: KID ~ kimg^slope."""

    slope: float
    margin: float  # half of the slope's 95% interval

    @property
    def of_twice_the_length(self) -> float:
        """KID of a run twice as long, as a share of the present one"""
        return float(2**self.slope)

    @property
    def falls(self) -> bool:
        """Whether KID falls beyond doubt"""
        return self.slope < -self.margin

    @property
    def rises(self) -> bool:
        """Whether KID rises beyond doubt"""
        return self.slope > self.margin

    @property
    def stands_still(self) -> bool:
        """Whether even twice the length can hardly lower KID, or raises it"""
        return 2 ** (self.slope - self.margin) > 1 - LITTLE


def kid_trend(ticks: Ticks) -> Trend | None:
    """Of the later half of the snapshots; None if they are too few, or if one has a KID that is not above 0

    A straight line through log KID over log kimg, by least squares: learning curves are power laws (Hestness 2017).
    """
    found = measured_kids(ticks)
    later = found[len(found) // 2 :]
    if len(later) < SNAPSHOTS_FOR_TREND or any(kid <= 0 for kid, _ in later):
        return None
    kimg, kid = np.log([(row.kimg, kid) for kid, row in later]).T
    (slope, intercept), covariance = np.polyfit(kimg, kid, 1, cov=True)
    widening = _widening(kid - slope * kimg - intercept)
    quantile = float(stdtrit(max(len(kid) / widening, 3) - 2, (1 + LEVEL) / 2))
    return Trend(float(slope), quantile * float((covariance[0, 0] * widening) ** 0.5))


def _widening(residuals: Floats) -> float:
    """How many values in a row tell as much as one independent value: (1 + r) / (1 - r) for a correlation r of each
    with the next

    Neighbours among the snapshots wander together. Their correlation is seen too low, by (1 + 4 r) / n in a series
    (Kendall 1954), and by about 1 / n more after a line was fitted.
    """
    square = float(residuals @ residuals)
    seen = float(residuals[1:] @ residuals[:-1]) / square if square else 0.0
    correlation = seen + (2 + 4 * max(seen, 0.0)) / len(residuals)
    correlation = min(max(correlation, 0.0), MOST_CORRELATION)
    return (1 + correlation) / (1 - correlation)


def readings(ticks: Ticks, config: Config) -> list[tuple[str, str]]:
    """One line for each panel of training.png: (title, what it shows)"""
    lines = [
        ("Losses", _read_losses(ticks, config)),
        ("Scores of D", _read_scores(ticks)),
        ("Augmentation", _read_augmentation(ticks, config)),
        (
            "R1 penalty",
            _if(
                any(tick.loss.r1_penalty is not None for tick in ticks),
                "Squared gradient of D at real images; it should not rise forever.",
            ),
        ),
        (
            "Gradient penalty",
            _if(
                any(tick.loss.gp_penalty is not None for tick in ticks),
                "How far the gradient of D is from 1 between real and generated images.",
            ),
        ),
        (
            "Path length penalty",
            _if(
                any(tick.loss.pl_penalty is not None for tick in ticks),
                "How unevenly G reacts to steps in w; it should settle.",
            ),
        ),
        ("KID while training", _read_monitored_distance(ticks)),
        ("Precision and recall while training", _read_monitored_shares(ticks)),
    ]
    return [(title, line) for title, line in lines if line]


def _if(logged: bool, line: str) -> str:
    return line if logged else ""


def _read_losses(ticks: Ticks, config: Config) -> str:
    if not ticks or (G := ticks[-1].loss.G) is None or (D := ticks[-1].loss.D) is None:
        return ""
    if config.loss.adversarial == "wgan_gp":
        return (
            f"G {G:.2f}, D {D:.2f} at the end. Minus the loss of D estimates the distance "
            "between real and generated images, which should shrink; the loss of G says little alone."
        )
    # At equilibrium D is undecided, D(x) = 1/2: softplus(0) = 0.69 for G and twice that for D (Goodfellow et al. 2014).
    return (
        f"G {G:.2f}, D {D:.2f} at the end. They balance and need not fall; a D that cannot "
        "tell real from generated has 1.39, and one that always can has 0."
    )


def _read_scores(ticks: Ticks) -> str:
    if not ticks or (after := ticks[-1].logits.gap) is None:
        return ""
    if (before := ticks[min(1, len(ticks) - 1)].logits.gap) is None:
        return ""
    ends, start = (f"{before:.2f}", f"{after:.2f}"), f"{ticks[min(1, len(ticks) - 1)].kimg:g} kimg"
    rule = "a gap that grows without end means that D has won."
    if ends[0] == ends[1]:
        return f"Real minus generated stayed at {ends[0]}; {rule}"
    verb = "widened" if after > before else "narrowed"
    return f"Real minus generated {verb} from {ends[0]} at {start} to {ends[1]}; {rule}"


def _read_augmentation(ticks: Ticks, config: Config) -> str:
    if not ticks or (p := ticks[-1].augment.p) is None:
        return ""
    cap = config.augment.p_max
    if config.augment.mode == "none":
        return "Augmentation is off (augment.mode: none)."
    if config.augment.mode == "fixed":
        return f"Fixed at p = {p:.2f}."
    if config.augment.mode == "diffaugment":
        return f"Every image is augmented, without a p (augment.diffaugment: {', '.join(config.augment.diffaugment)})."
    state = "at its cap" if reaches_cap(ticks[-1], config) else "below its cap"
    name = "r_v" if config.augment.mode == "ada_rv" else "r_t"
    if p <= 0:
        return f"p ended at 0; it rises only while {name} is above {config.augment.ada_target:g}."
    return f"p ended at {p:.2f}, {state} of {cap:g}; it moves so that {name} meets {config.augment.ada_target:g}."


def _read_monitored_distance(ticks: Ticks) -> str:
    found = measured_kids(ticks)
    if not found:
        return ""
    best, row = min(found, key=lambda each: each[0])
    return f"{found[-1][0]:.3g} at the last snapshot; the lowest was {best:.3g}, at {row.kimg:g} kimg."


def _read_monitored_shares(ticks: Ticks) -> str:
    found = [
        (tick.monitor.precision, tick.monitor.recall)
        for tick in ticks
        if tick.monitor.precision is not None and tick.monitor.recall is not None
    ]
    if not found:
        return ""
    precision, recall = found[-1]
    return (
        f"Precision {precision:.2g} and recall {recall:.2g} at the last snapshot. Recall that falls while precision "
        "rises is variety being lost."
    )
