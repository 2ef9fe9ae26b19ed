"""Early warnings of a training that collapses: what was seen, the likely cause, and what to try next.

Rules that see the rows of the tick log one at a time, so that a tick costs the same however long the log is. An alarm
names the first row that gave rise to it, so it stays the same however the run goes on.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from pipelines.artifacts.ticks import TickRow
from pipelines.diagnosis.shared_rules import is_at_cap, regularizer, stronger_regularizer
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
from stylegan.config.augmentation import adapts

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
    best_kimg: float | None  # of the best snapshot until then; None while none was measured

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
        if row.monitor.kid is not None:
            self._best = lower((row.monitor.kid, row), self._best)
        best_kimg = None if self._best is None else self._best[1].kimg
        found = []
        for rule in [*self._rules]:
            try:
                rule.send(row)
            except StopIteration as end:
                self._rules.remove(rule)
                finding: Finding = end.value
                seen = f"At kimg {row.kimg:.4g} {finding.seen}"
                found.append(Alarm(finding.name, row.kimg, seen, finding.cause, finding.remedy, best_kimg))
        return found


def alarms(rows: Sequence[TickRow], config: Config) -> list[Alarm]:
    """Every alarm of a tick log, each at the first row that gives rise to it, oldest first"""
    watch = Watch(config)
    return [alarm for row in rows for alarm in watch.see(row)]


def lower(snapshot: Snapshot, best: Snapshot | None) -> Snapshot:
    """The one of lower KID, and of equals the later, as Ray keeps it"""
    return snapshot if best is None or snapshot[0] <= best[0] else best


def kid_rises(config: Config) -> Rule:
    """KID stays well above its best."""
    best: Snapshot | None = None
    noise: float | None = None
    recent = deque[Snapshot]()
    while True:
        row = yield
        if (kid := row.monitor.kid) is None:
            continue
        noise = KID_NOISE * abs(kid) if noise is None else noise
        if len(recent) == SNAPSHOTS:
            best = lower(recent.popleft(), best)
        recent.append((kid, row))
        if best is not None and all(each > KID_RISE * max(best[0], 0) + noise for each, _ in recent):
            seen = f"KID is {kid:.3g}; it was {best[0]:.3g} at kimg {best[1].kimg:.4g}."
            return Finding("kid-rising", seen, *_imbalance(row, config))


def _imbalance(row: TickRow, config: Config) -> tuple[str, str]:
    """Cause and remedy of images that get worse"""
    if (overfitting(row, config) or 0.0) <= config.augment.ada_target + R_T_SLACK:
        remedy = f"Raise {stronger_regularizer(config)}, or halve train.g_lr and train.d_lr."
        return "G and D have lost their balance: D is too steep.", remedy
    cause = "D learns the training images by heart."
    if not adapts(config.augment):
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


def recall_is_lost(config: Config) -> Rule:
    """No real image lies among the generated ones any more, or still."""
    zeros, highest = 0, 0.0
    while zeros < SNAPSHOTS:
        recall, before = yield from _next_late(lambda row: row.monitor.recall, SOME_RECALL, highest, config)
        zeros, highest = zeros + 1 if recall == 0 else 0, max(recall, before)
    seen = f"recall is 0; it was {highest:.2g}." if highest > 0 else "recall is still 0."
    cause = "G draws a few kinds of images, or none like the real ones."
    remedy = f"Raise {stronger_regularizer(config)}, or halve train.g_lr."
    return Finding("recall-lost", seen, cause, remedy)


def images_are_alike(config: Config) -> Rule:
    """Generated images differ much less from each other than real ones do."""
    spread, highest = LOW_SPREAD, 0.0
    while spread >= LOW_SPREAD:
        spread, before = yield from _next_late(lambda row: row.monitor.spread, SOME_SPREAD, highest, config)
        highest = max(spread, before)
    was = f"; it was {highest:.2g}" if highest > SOME_SPREAD else ""
    seen = f"the spread of generated images is {spread:.2g} of the real images'{was}."
    cause = "The modes of G have collapsed: images of all latents look alike."
    remedy = f"Halve train.g_lr (now {config.train.g_lr:g}), or raise {stronger_regularizer(config)}."
    return Finding("images-alike", seen, cause, remedy)


def _next_late(
    measure: Callable[[TickRow], float | None], enough: float, highest: float, config: Config
) -> Generator[None, TickRow, tuple[float, float]]:
    """Wait for a snapshot that should show variety: the run once had enough, or is past its beginning

    Returns its number, and the highest before it.
    """
    late = max(EARLY * config.train.total_kimg, EARLY_KIMG)
    while True:
        row = yield
        if (value := measure(row)) is not None:
            if highest > enough or row.kimg >= late:
                return value, highest
            highest = max(highest, value)


def logits_run_apart(config: Config) -> Rule:
    """D is sure of everything; not with WGAN-GP, where the gap is the distance that G shortens."""
    wide, gap = 0, 0.0
    while wide < GAP_TICKS:
        row = yield
        gap = row.logits.gap or 0.0
        wide = wide + 1 if gap > LOGIT_GAP and config.loss.adversarial != "wgan_gp" else 0
    seen = f"D scores real images {gap:.3g} above generated ones."
    cause = "D has won: it is sure of every image and G learns nothing more."
    remedy = f"Raise {stronger_regularizer(config)}, or halve train.d_lr."
    return Finding("logits-apart", seen, cause, remedy)


def p_is_at_its_cap(config: Config) -> Rule:
    """Augmentation can do no more against overfitting."""
    while not is_at_cap((yield), config):
        pass
    seen = f"augment.p reached its cap augment.p_max = {config.augment.p_max:g}."
    cause = "D still recognises the training images."
    remedy = f"Add images or raise {regularizer(config)[0]} rather than the cap: above 0.8 augmentations leak."
    return Finding("p-at-cap", seen, cause, remedy)


RULES: tuple[Callable[[Config], Rule], ...] = (
    kid_rises, recall_is_lost, images_are_alike, logits_run_apart, p_is_at_its_cap,
)  # fmt: skip
