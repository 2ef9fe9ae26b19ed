"""Early warnings of a training that collapses: what was seen, the likely cause, and what to try next.

Rules that see the rows of the tick log one at a time, so that a tick costs the same however long the log is. An alarm
names the first row that gave rise to it, so it stays the same however the run continues.
"""

import math
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis.shared_rules import is_at_cap, is_overfitting, less_overfitting, stronger_regularizer
from pipelines.diagnosis.thresholds import (
    EARLY,
    EARLY_KIMG,
    GAP_TICKS,
    KID_ERRORS,
    KID_RISE,
    LOGIT_GAP,
    LOW_SPREAD,
    SNAPSHOTS,
    SOME_RECALL,
    SOME_SPREAD,
)
from stylegan.config import Config

# Changed parameters are another run, which would begin at 0 without networks to start from.
GO_ON = (
    "; `python -m pipelines.peek --best --networks pretrained/best.safetensors` copies its networks, and with "
    "train.resume_from=pretrained/best.safetensors another run starts from them."
)


@dataclass(frozen=True)
class Alarm:
    """One warning."""

    name: str
    kimg: float  # when it was first true
    seen: str
    cause: str
    remedy: str
    best_kimg: float | None  # of the best snapshot until then; None while none is better than those of the alarm

    @property
    def text(self) -> str:
        """All of it in one paragraph"""
        text = f"{self.name}: {self.seen} {self.cause} {self.remedy}"
        if self.best_kimg is None:
            return text
        return f"{text} The best snapshot so far, of kimg {self.best_kimg:.4g}, is kept{GO_ON}"


@dataclass(frozen=True)
class Finding:
    """What a rule saw in the row it was given last."""

    name: str
    seen: str
    cause: str
    remedy: str
    since: float = math.inf  # kimg from which snapshots are what the alarm is about


Snapshot = tuple[float, TickRow]  # its KID, and its row
Rule = Generator[None, TickRow, Finding]  # is sent every row, and returns at the first that is alarming


class Watch:
    """Sees the rows of a tick log in order, and raises each alarm once."""

    def __init__(self, config: Config) -> None:
        self._best: Snapshot | None = None
        self._rules = [rule(config) for rule in RULES]
        for rule in self._rules:
            next(rule)

    def see(self, row: TickRow) -> list[Alarm]:
        """Alarms that this row gives rise to"""
        if (kid := row.monitor.kid) is not None and math.isfinite(kid):
            self._best = lower((kid, row), self._best)
        found = []
        for rule in [*self._rules]:
            try:
                rule.send(row)
            except StopIteration as end:
                self._rules.remove(rule)
                finding: Finding = end.value
                seen = f"At kimg {row.kimg:.4g} {finding.seen}"
                best_kimg = self._best_before(finding.since)
                found.append(Alarm(finding.name, row.kimg, seen, finding.cause, finding.remedy, best_kimg))
        return found

    def _best_before(self, since: float) -> float | None:
        """Position of the best snapshot, unless the alarm is about that very one: nobody should start from it"""
        return None if self._best is None or self._best[1].kimg >= since else self._best[1].kimg


def alarms(rows: Sequence[TickRow], config: Config) -> list[Alarm]:
    """Every alarm of a tick log, each at the first row that gives rise to it, oldest first"""
    watch = Watch(config)
    return [alarm for row in rows for alarm in watch.see(row)]


def lower(snapshot: Snapshot, best: Snapshot | None) -> Snapshot:
    """The one of lower KID, and of equals the later, as Ray keeps it"""
    return snapshot if best is None or snapshot[0] <= best[0] else best


def kid_rises(config: Config) -> Rule:
    """KID stays above its best by more than chance moves it."""
    best: Snapshot | None = None
    recent = deque[Snapshot]()
    while True:
        row = yield
        if (kid := row.monitor.kid) is None or not math.isfinite(kid):
            continue
        if len(recent) == SNAPSHOTS:
            best = lower(recent.popleft(), best)
        recent.append((kid, row))
        if best is not None and all(_is_above(each, best) for each in recent):
            seen = f"KID is {kid:.3g}; it was {best[0]:.3g} at kimg {best[1].kimg:.4g}."
            return Finding("kid-rising", seen, *_imbalance(row, config), since=recent[0][1].kimg)


def _is_above(snapshot: Snapshot, best: Snapshot) -> bool:
    """Whether KID is clearly higher than the best; of numbers without a standard error nobody can say"""
    errors = [each[1].monitor.kid_se for each in (snapshot, best)]
    slack = KID_ERRORS * math.hypot(*(math.inf if error is None else error for error in errors))
    return snapshot[0] > KID_RISE * max(best[0], 0) + slack


def _imbalance(row: TickRow, config: Config) -> tuple[str, str]:
    """Cause and remedy of images that get worse"""
    if is_overfitting(row, config):
        return "D memorises the training images.", less_overfitting(config, at_cap=is_at_cap(row, config))
    remedy = f"Raise {stronger_regularizer(config)}, or halve train.g_lr and train.d_lr."
    return "G and D have lost their balance: D's gradients are too large.", remedy


def recall_is_lost(config: Config) -> Rule:
    """No real image lies among the generated ones any more, or still."""
    zeros, highest, since = 0, 0.0, math.inf
    while zeros < SNAPSHOTS:
        recall, before, kimg = yield from _next_late(lambda row: row.monitor.recall, SOME_RECALL, highest, config)
        since = since if zeros else kimg
        zeros, highest = zeros + 1 if recall == 0 else 0, max(recall, before)
    seen = f"recall is 0; it was {highest:.2g}." if highest > 0 else "recall is still 0."
    cause = "G draws a few kinds of images, or none like the real ones."
    remedy = f"Raise {stronger_regularizer(config)}, or halve train.g_lr."
    return Finding("recall-lost", seen, cause, remedy, since)


def images_are_alike(config: Config) -> Rule:
    """Generated images differ much less from each other than real ones do."""
    spread, highest, since = LOW_SPREAD, 0.0, math.inf
    while spread >= LOW_SPREAD:
        spread, before, since = yield from _next_late(lambda row: row.monitor.spread, SOME_SPREAD, highest, config)
        highest = max(spread, before)
    was = f"; it was {highest:.2g}" if highest > SOME_SPREAD else ""
    seen = f"the spread of generated images is {spread:.2g} of the real images'{was}."
    cause = "The modes of G have collapsed: images of all latents look alike."
    remedy = f"Halve train.g_lr (now {config.train.g_lr:g}), or raise {stronger_regularizer(config)}."
    return Finding("images-alike", seen, cause, remedy, since)


def _next_late(
    measure: Callable[[TickRow], float | None], enough: float, highest: float, config: Config
) -> Generator[None, TickRow, tuple[float, float, float]]:
    """Wait for a snapshot that should show variety: the run once had enough, or is past its beginning

    Returns its number, the highest before it, and its kimg.
    """
    late = max(EARLY * config.train.total_kimg, EARLY_KIMG)
    while True:
        row = yield
        if (value := measure(row)) is not None and math.isfinite(value):
            if highest > enough or row.kimg >= late:
                return value, highest, row.kimg
            highest = max(highest, value)


def logits_run_apart(config: Config) -> Rule:
    """D is sure of everything; not with WGAN-GP, where the gap is the distance that G shortens."""
    wide, gap, since = 0, 0.0, math.inf
    while wide < GAP_TICKS:
        row = yield
        gap = row.logits.gap or 0.0
        since = since if wide else row.kimg
        wide = wide + 1 if gap > LOGIT_GAP and config.loss.adversarial != "wgan_gp" else 0
    seen = f"D scores real images {gap:.3g} above generated ones."
    cause = "D has won: it is sure of every image and G learns nothing more."
    remedy = f"Raise {stronger_regularizer(config)}, or halve train.d_lr."
    return Finding("logits-apart", seen, cause, remedy, since)


def p_is_at_its_cap(config: Config) -> Rule:
    """Augmentation can do no more against overfitting."""
    while not is_at_cap((yield), config):
        pass
    seen = f"augment.p reached its cap augment.p_max = {config.augment.p_max:g}."
    return Finding("p-at-cap", seen, "D still recognises the training images.", less_overfitting(config, at_cap=True))


RULES: tuple[Callable[[Config], Rule], ...] = (
    kid_rises, recall_is_lost, images_are_alike, logits_run_apart, p_is_at_its_cap,
)  # fmt: skip
