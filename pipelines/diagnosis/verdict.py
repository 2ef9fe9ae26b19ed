"""What the numbers mean, in words: verdicts, and what to try next.

Pure rules over measured values, by the limits in thresholds.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pipelines.artifacts.metrics_json import MetricsReport
from pipelines.diagnosis.alarms import tells_overfitting
from pipelines.diagnosis.shared_rules import stronger_regularizer
from pipelines.diagnosis.thresholds import (
    FEW_IMAGES,
    FRESH_MEMORIZED,
    GOOD_FLOORS,
    GOOD_MEMORIZED,
    GOOD_SHARE,
    GOOD_SHARE_OF_REAL,
    LOWEST_IS,
    OK_MEMORIZED,
    OK_SHARE,
    OK_SHARE_OF_REAL,
    R_T_SLACK,
)
from pipelines.diagnosis.training_curves import Ticks, ended_at_cap
from stylegan.config import Config
from stylegan.config.augmentation import adapts
from stylegan.metrics.evaluation.metric import DISTANCES, Kind, Metric, by_name, short

Grade = Literal["good", "ok", "poor"]

_MEANING: dict[Kind, str] = {
    "kid": "distance between generated and real images; fair for small sets (lower is better)",
    "fid": "the usual distance between generated and real images (lower is better)",
    "frechet": "Frechet distance in random features, not an FID (lower is better)",
    "fid_infinity": "FID extrapolated to endlessly many generated images, free of the bias of few (lower is better)",
    "precision": "share of generated images that look real (higher is better)",
    "recall": "share of real variety that is generated (higher is better)",
    "density": "how crowded with real images the places are where generated ones lie; real images score about 1, and "
    "more means that pictures bunch together in the commonest places",
    "coverage": "share of real images with a generated one in their neighbourhood (higher is better)",
    "memorized": "share of generated images nearer to a training image than any other training image is; should be no "
    "higher than of held-out real images",
    "is": "Inception Score: clear objects of many classes; never looks at the real images (higher is better)",
    "ppl": "how abruptly images change along a walk in w; compare between runs (lower is smoother)",
}


@dataclass(frozen=True)
class Verdict:
    """One measured quantity against its floor and the untrained generator."""

    metric: Metric
    meaning: str
    floor: float | None
    untrained: float | None
    grade: Grade | None  # None where nothing bounds it from both sides

    @property
    def value(self) -> float:
        """What was measured"""
        return self.metric.value


class _Bounded(NamedTuple):
    label: str
    value: float
    floor: float | None  # FID alone keeps no features, so it has none
    untrained: float


@dataclass(frozen=True)
class Advice:
    """One thing to try, and the measurement that suggests it."""

    action: str
    because: str


def verdicts(report: MetricsReport) -> list[Verdict]:
    """Every metric of reports/metrics.json, judged"""
    floors, starts = by_name(report.floor), by_name(report.untrained)
    judged = []
    for metric in report.metrics:
        floor, untrained = (found[metric.name].value if metric.name in found else None for found in (floors, starts))
        grade = _grade(metric.kind, metric.value, floor, untrained)
        judged.append(Verdict(metric, _MEANING[metric.kind], floor, untrained, grade))
    return judged


def _grade(kind: Kind, value: float, floor: float | None, untrained: float | None) -> Grade | None:
    if floor is None:
        return None
    if kind == "memorized":  # needs no untrained generator: its images are far from all others, so it scores low
        above = value - floor
        return "good" if above <= GOOD_MEMORIZED else "ok" if above <= OK_MEMORIZED else "poor"
    if untrained is None:
        return None
    if kind in (*DISTANCES, "fid_infinity"):
        if value <= max(GOOD_FLOORS * floor, GOOD_SHARE * untrained):
            return "good"
        return "ok" if value <= OK_SHARE * untrained else "poor"
    if kind == "is":
        return _share_grade(value - LOWEST_IS, floor - LOWEST_IS)
    if kind == "density" and value > floor / GOOD_SHARE_OF_REAL:
        return "ok"  # beyond real images: fidelity that was paid for with variety
    if kind in ("precision", "recall", "density", "coverage"):
        return _share_grade(value, floor)
    return None


def _share_grade(value: float, floor: float) -> Grade:
    """Of a score of which real images reach `floor`"""
    return "good" if value >= GOOD_SHARE_OF_REAL * floor else "ok" if value >= OK_SHARE_OF_REAL * floor else "poor"


def headline(judged: Sequence[Verdict]) -> str:
    """The result in one plain sentence, by KID, or by FID where KID was not measured.

    Raises ValueError when neither was.
    """
    found = _bounded_distance(judged)
    start = f"{found.label} {short(found.value, 3)}:"
    if found.value >= found.untrained:
        return f"{start} no closer to the real images than the untrained network."
    if found.value <= max(found.floor or 0.0, 0.0):
        return f"{start} this measure cannot tell the generated images from real ones."
    times = found.untrained / found.value
    shown = f"{times:.0f}" if times >= 10 else f"{times:.1f}"
    return f"{start} {shown} times closer to the real images than the untrained network."


def yardstick(judged: Sequence[Verdict], num_images: int) -> str:
    """What the headline is measured against."""
    found = _bounded_distance(judged)
    floor = (
        "The floor, what real images score against other real images, was not measured."
        if found.floor is None
        else f"Real images against other real images score {short(found.floor, 2)}, the floor."
    )
    return f"The untrained network scores {short(found.untrained, 3)}. {floor} Measured with {num_images} images."


def advice(judged: Sequence[Verdict], report: MetricsReport, ticks: Ticks, config: Config) -> list[Advice]:
    """What to try next, most useful first; every item names the measurement it rests on."""
    found = [
        _overfitting(ticks, config),
        _memorized(judged, config),
        _distance(judged, ticks, config),
        _variety(judged, config),
        _fidelity(judged),
        _recommended_psi(report, config),
        _more_measurement(report.num_images),
    ]
    return [item for item in found if item]


def _overfitting(ticks: Ticks, config: Config) -> Advice | None:
    if ended_at_cap(ticks, config):
        return Advice(
            f"Add training images, or raise {stronger_regularizer(config)}.",
            f"Augmentation reached its cap (augment.p_max = {config.augment.p_max:g}) and D still tells the training "
            "images apart: it is learning them by heart.",
        )
    r_t = ticks[-1].augment.r_t if ticks else None
    if r_t is None or config.augment.mode not in ("none", "diffaugment") or not tells_overfitting(config):
        return None
    if r_t <= config.augment.ada_target + R_T_SLACK:
        return None
    return Advice("Set augment.mode to ada.", f"D is sure of {r_t:.0%} more training images than it doubts (r_t).")


def _memorized(judged: Sequence[Verdict], config: Config) -> Advice | None:
    found = _find(judged, "memorized")
    if found is None:
        return None
    if found.floor is None and found.value > FRESH_MEMORIZED:
        measured = f"fresh images of the same kind would score {FRESH_MEMORIZED:.0%} at most"
    elif found.floor is not None and found.grade == "poor":
        measured = f"held-out real images score {found.floor:.0%}"
    else:
        return None
    lower = ", lower augment.ada_target" if adapts(config.augment) else ""
    return Advice(
        f"Look at the nearest training images below; then add training images{lower}, or stop earlier "
        "(train.total_kimg).",
        f"{found.value:.0%} of the generated images are nearer to a training image than any other training image is, "
        f"and {measured}: training images are being repeated.",
    )


def _distance(judged: Sequence[Verdict], ticks: Ticks, config: Config) -> Advice | None:
    found = _find(judged, *DISTANCES)
    if found is None or found.floor is None or found.grade == "good" or ended_at_cap(ticks, config):
        return None
    calm = ", and D is not overfitting" if tells_overfitting(config) else ""
    return Advice(
        f"Train longer: train.total_kimg from {config.train.total_kimg:g} to {2 * config.train.total_kimg:g}. The run "
        "continues from its end.",
        f"{found.metric.label} {short(found.value, 3)} is still far above the floor of {short(found.floor, 2)}{calm}.",
    )


def _variety(judged: Sequence[Verdict], config: Config) -> Advice | None:
    recall = _find(judged, "recall")
    if recall is None or recall.grade in ("good", None):
        return None
    mirror = "" if config.data.xflip else " Where left and right do not matter, data.xflip: true doubles the images."
    return Advice(
        "For more variety, train on more, and more varied, images." + mirror,
        f"Recall is {recall.value:.2f} where real images reach {recall.floor:.2f}: kinds of pictures are missing.",
    )


def _fidelity(judged: Sequence[Verdict]) -> Advice | None:
    precision = _find(judged, "precision")
    if precision is None or precision.grade in ("good", None):
        return None
    return Advice(
        "For cleaner pictures, give the generator more capacity (generator.channel_base); a lower psi cleans them at "
        "the price of variety.",
        f"Precision is {precision.value:.2f} where real images reach {precision.floor:.2f}: many pictures look wrong.",
    )


def _recommended_psi(report: MetricsReport, config: Config) -> Advice | None:
    psi = report.recommended.psi
    if len(report.truncation) < 2 or psi == config.render.truncation_psi:
        return None
    return Advice(
        f"Show images at psi = {psi:g}: set render.truncation_psi (now {config.render.truncation_psi:g}).",
        report.recommended.sentence,
    )


def _more_measurement(num_images: int) -> Advice | None:
    if num_images >= FEW_IMAGES:
        return None
    return Advice(
        f"Before comparing two good runs, raise evaluate.num_images (now {num_images}).",
        f"With fewer than {FEW_IMAGES} images FID is biased upwards; compare only numbers of the same count.",
    )


def _bounded_distance(judged: Sequence[Verdict]) -> _Bounded:
    found = _find(judged, *DISTANCES)
    if found is None or found.untrained is None:
        raise ValueError("reports/metrics.json lacks kid_* or fid_*, or its untrained. Run `dvc repro evaluate` again.")
    return _Bounded(found.metric.label, found.value, found.floor, found.untrained)


def _find(judged: Sequence[Verdict], *kinds: Kind) -> Verdict | None:
    """The first verdict of the first kind that was measured"""
    return next((verdict for kind in kinds for verdict in judged if verdict.metric.kind == kind), None)
