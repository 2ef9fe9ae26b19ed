"""Early warnings of a training that collapses: what was seen, the likely cause, and what to try next.

Pure rules over the rows of the tick log. An alarm names the first row that gave rise to it, so it stays the same
however the run goes on.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis.shared_rules import is_at_cap, stronger_regularizer
from pipelines.diagnosis.thresholds import (
    EARLY,
    EARLY_KIMG,
    GAP_TICKS,
    KID_NOISE,
    KID_RISE,
    LOGIT_GAP,
    LOW_SPREAD,
    R_T_SLACK,
    SNAPSHOTS,
    SOME_RECALL,
    SOME_SPREAD,
)
from stylegan.config import Config


@dataclass(frozen=True)
class Alarm:
    """One warning."""

    name: str
    kimg: float  # when it was first true
    seen: str
    cause: str
    remedy: str
    best_kimg: float | None  # of the best snapshot until then; None while none was measured

    @property
    def text(self) -> str:
        """All of it in one paragraph"""
        kept = "" if self.best_kimg is None else f" The best snapshot so far, of kimg {self.best_kimg:.4g}, is kept."
        return f"{self.name}: {self.seen} {self.cause} {self.remedy}{kept}"


def alarms(rows: Sequence[TickRow], config: Config) -> list[Alarm]:
    """Every alarm of a tick log, each at the first row that gives rise to it, oldest first"""
    found = [alarm for rule in RULES for alarm in [rule(rows, config)] if alarm is not None]
    return sorted(found, key=lambda alarm: alarm.kimg)


def kid_rises(rows: Sequence[TickRow], config: Config) -> Alarm | None:
    """KID stays well above its best."""
    snapshots = _with_kid(rows)
    for last in range(SNAPSHOTS, len(snapshots)):
        before, recent = snapshots[: last + 1 - SNAPSHOTS], snapshots[last + 1 - SNAPSHOTS : last + 1]
        lowest, best = _lowest(before)
        limit = KID_RISE * max(lowest, 0) + KID_NOISE * abs(snapshots[0][0])
        if all(kid > limit for kid, _ in recent):
            kid, row = recent[-1]
            seen = f"KID is {kid:.3g}; it was {lowest:.3g} at kimg {best.kimg:.4g}."
            return _alarm("kid-rising", rows, row, seen, *_imbalance(row, config))
    return None


def _imbalance(row: TickRow, config: Config) -> tuple[str, str]:
    """Cause and remedy of images that get worse"""
    if (overfitting(row, config) or 0.0) <= config.augment.ada_target + R_T_SLACK:
        remedy = f"Raise {stronger_regularizer(config)}, or halve train.g_lr and train.d_lr."
        return "G and D have lost their balance: D is too steep.", remedy
    cause = "D learns the training images by heart."
    if not config.augment.adapts:
        return cause, f"Set augment.mode (now {config.augment.mode}) to ada."
    return cause, f"Add images, or raise {stronger_regularizer(config)}."


def tells_overfitting(config: Config) -> bool:
    """Whether r_v or r_t can show that D learns the training images by heart"""
    # The scores of WGAN-GP have no zero between real and generated images, so their signs say nothing.
    return config.augment.mode == "ada_rv" or config.loss.adversarial == "non_saturating"


def overfitting(row: TickRow, config: Config) -> float | None:
    """How far D has learned the training images by heart: r_v or r_t; None where nothing tells"""
    if not tells_overfitting(config):
        return None
    return row.augment.r_v if config.augment.mode == "ada_rv" else row.augment.r_t


def recall_is_lost(rows: Sequence[TickRow], config: Config) -> Alarm | None:
    """No real image lies among the generated ones any more, or still."""
    zeros = 0
    for row, recall, highest in _late(rows, lambda row: row.monitor.recall, SOME_RECALL, config):
        zeros = zeros + 1 if recall == 0 else 0
        if zeros == SNAPSHOTS:
            seen = f"recall is 0; it was {highest:.2g}." if highest > 0 else "recall is still 0."
            cause = "G draws a few kinds of images, or none like the real ones."
            remedy = f"Raise {stronger_regularizer(config)}, or halve train.g_lr."
            return _alarm("recall-lost", rows, row, seen, cause, remedy)
    return None


def images_are_alike(rows: Sequence[TickRow], config: Config) -> Alarm | None:
    """Generated images differ much less from each other than real ones do."""
    for row, spread, highest in _late(rows, lambda row: row.monitor.spread, SOME_SPREAD, config):
        if spread < LOW_SPREAD:
            was = f"; it was {highest:.2g}" if highest > SOME_SPREAD else ""
            seen = f"the spread of generated images is {spread:.2g} of the real images'{was}."
            cause = "The modes of G have collapsed: images of all latents look alike."
            remedy = f"Halve train.g_lr (now {config.train.g_lr:g}), or raise {stronger_regularizer(config)}."
            return _alarm("images-alike", rows, row, seen, cause, remedy)
    return None


def _late(
    rows: Sequence[TickRow], measure: Callable[[TickRow], float | None], enough: float, config: Config
) -> Iterator[tuple[TickRow, float, float]]:
    """Snapshots that should show variety, as the run once had enough, or is past its beginning

    Each with what was measured, and the highest before.
    """
    highest, late = 0.0, max(EARLY * config.train.total_kimg, EARLY_KIMG)
    for row in rows:
        if (value := measure(row)) is not None:
            if highest > enough or row.kimg >= late:
                yield row, value, highest
            highest = max(highest, value)


def logits_run_apart(rows: Sequence[TickRow], config: Config) -> Alarm | None:
    """D is sure of everything; not with WGAN-GP, where the gap is the distance that G shortens."""
    if config.loss.adversarial == "wgan_gp":
        return None
    gaps = [row.logits.gap or 0.0 for row in rows]
    for last in range(GAP_TICKS - 1, len(rows)):
        if all(gap > LOGIT_GAP for gap in gaps[last + 1 - GAP_TICKS : last + 1]):
            seen = f"D scores real images {gaps[last]:.3g} above generated ones."
            cause = "D has won: it is sure of every image and G learns nothing more."
            remedy = f"Raise {stronger_regularizer(config)}, or halve train.d_lr."
            return _alarm("logits-apart", rows, rows[last], seen, cause, remedy)
    return None


def p_is_at_its_cap(rows: Sequence[TickRow], config: Config) -> Alarm | None:
    """Augmentation can do no more against overfitting."""
    for row in rows:
        if is_at_cap(row, config):
            seen = f"augment.p reached its cap augment.p_max = {config.augment.p_max:g}."
            cause = "D still recognises the training images."
            remedy = f"Add images or raise {config.loss.d_reg_name} rather than the cap: above 0.8 augmentations leak."
            return _alarm("p-at-cap", rows, row, seen, cause, remedy)
    return None


Rule = Callable[[Sequence[TickRow], Config], Alarm | None]
RULES: tuple[Rule, ...] = (kid_rises, recall_is_lost, images_are_alike, logits_run_apart, p_is_at_its_cap)


def best_of(rows: Sequence[TickRow]) -> TickRow:
    """The row of the lowest KID, the last of equals, as Ray keeps it"""
    return _lowest(_with_kid(rows))[1]


def _with_kid(rows: Sequence[TickRow]) -> list[tuple[float, TickRow]]:
    """Snapshots with their KID"""
    return [(row.monitor.kid, row) for row in rows if row.monitor.kid is not None]


def _lowest(snapshots: Sequence[tuple[float, TickRow]]) -> tuple[float, TickRow]:
    return min(reversed(snapshots), key=lambda found: found[0])


def _alarm(name: str, rows: Sequence[TickRow], row: TickRow, seen: str, cause: str, remedy: str) -> Alarm:
    until = _with_kid([earlier for earlier in rows if earlier.kimg <= row.kimg])
    seen = f"At kimg {row.kimg:.4g} {seen}"
    return Alarm(name, row.kimg, seen, cause, remedy, _lowest(until)[1].kimg if until else None)
