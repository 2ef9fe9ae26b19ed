"""What the numbers mean: a grade for each, and the result in a sentence.

Pure rules over measured values, by the limits in thresholds.py.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

from pipelines.artifacts.metrics_json import MetricsReport
from pipelines.diagnosis.thresholds import (
    FEW_COPIES,
    GOOD_SHARE,
    GOOD_SHARE_OF_REAL,
    LOWEST_IS,
    NOISE_ERRORS,
    OK_SHARE,
    OK_SHARE_OF_REAL,
)
from stylegan.metrics.evaluation.metric import DISTANCES, Kind, Metric, by_name, short
from stylegan.wording import counted

Grade = Literal["good", "ok", "poor"]

_MEANING: dict[Kind, str] = {
    "kid": "distance between generated and real images; fair for small sets (lower is better)",
    "fid": "Frechet distance of features, the usual one if the extractor is Inception (lower is better)",
    "frechet": "Frechet distance in random features, not an FID (lower is better)",
    "fid_infinity": "FID extrapolated to endlessly many generated images, free of the bias of few (lower is better)",
    "precision": "share of generated images that look real (higher is better)",
    "recall": "share of real variety that is generated (higher is better)",
    "density": "how densely real images surround the generated ones; about 1 is ideal, and more means that the "
    "generator keeps to the most common kinds of image",
    "coverage": "share of real images with a generated one in their neighbourhood (higher is better)",
    "memorized": "share of generated images that look like copies of a training image; should be no higher than of the "
    "training images among each other",
    "is": "Inception Score: clear objects of many classes; never looks at the real images (higher is better)",
    "ppl": "how abruptly images change along a walk in w; compare between runs (lower is smoother)",
}


@dataclass(frozen=True)
class Verdict:
    """One measured quantity against the real-image baseline and the untrained generator."""

    metric: Metric
    meaning: str
    compared: float  # the same with as many images as the baseline, where that was measured
    floor: float | None
    noise: float  # standard error of the difference from the baseline; 0 where it is not known
    untrained: float | None
    grade: Grade | None  # None if nothing bounds it from both sides

    @property
    def value(self) -> float:
        """What was measured"""
        return self.metric.value

    @property
    def is_like_real(self) -> bool:
        """Whether it is statistically indistinguishable from what real images score"""
        return self.floor is not None and self.compared - self.floor <= NOISE_ERRORS * self.noise


def verdicts(report: MetricsReport) -> list[Verdict]:
    """Every metric of reports/metrics.json, judged"""
    floors, starts, likes = (by_name(group) for group in (report.floor, report.untrained, report.like_floor))
    judged: list[Verdict] = []
    for metric in report.metrics:
        floor, untrained = floors.get(metric.name), starts.get(metric.name)
        found = Verdict(
            metric, _MEANING[metric.kind], likes.get(metric.name, metric).value,
            None if floor is None else floor.value, _noise(metric, floor, report),
            None if untrained is None else untrained.value, None,
        )  # fmt: skip
        judged.append(replace(found, grade=_grade(found, report)))
    # Copies last, for which the grade of precision has to be known, wherever evaluate.metrics names it.
    return [
        replace(found, grade=_memorized_grade(found, judged)) if _is_of_copies(found) else found for found in judged
    ]


def _is_of_copies(found: Verdict) -> bool:
    return found.metric.kind == "memorized"


def _noise(metric: Metric, floor: Metric | None, report: MetricsReport) -> float:
    """Standard error of the difference between a metric and its baseline, as far as it is known"""
    if floor is None:
        return 0.0
    if metric.kind == "memorized":
        shares = ((metric.value, report.num_images), (floor.value, report.num_real))
        return math.hypot(*(_error_of_share(value, count) for value, count in shares))
    return math.hypot(_error_of_interval(metric, report.confidence), floor.sd or 0.0)


def _error_of_interval(metric: Metric, confidence: float) -> float:
    if metric.interval is None:
        return 0.0
    deviations = NormalDist().inv_cdf(min((1 + confidence) / 2, 1 - sys.float_info.epsilon))
    return (metric.interval.high - metric.interval.low) / (2 * deviations) if deviations else 0.0


def _error_of_share(value: float, count: int) -> float:
    """Of a share of independent images; of none or all (Agresti and Coull 1998: two of each kind more) not 0"""
    share = (value * count + 2) / (count + 4)
    return math.sqrt(max(0.0, share * (1 - share)) / (count + 4))


def _grade(found: Verdict, report: MetricsReport) -> Grade | None:
    kind, value, floor = found.metric.kind, found.compared, found.floor
    if floor is None or not all(map(math.isfinite, (value, found.value, floor))):
        return None
    if found.untrained is None or not math.isfinite(found.untrained):
        return None
    if kind in (*DISTANCES, "fid_infinity"):
        # The bias of few images cancels in a difference from a baseline of as many; KID has none.
        comparable = kind == "kid" or any(each.name == found.metric.name for each in report.like_floor)
        return _distance_grade(found, found.untrained) if comparable else None
    if kind == "is":
        return _share_grade(value - LOWEST_IS, floor - LOWEST_IS)
    if kind == "density" and value > floor / GOOD_SHARE_OF_REAL:
        return "ok"  # beyond real images: fidelity that was paid for with variety
    if kind in ("precision", "recall", "density", "coverage"):
        return _share_grade(value, floor)
    return None


def _distance_grade(found: Verdict, untrained: float) -> Grade | None:
    """By the excess over the baseline, as a share of the untrained generator's"""
    assert found.floor is not None, "asked for before"
    excess, scale = found.compared - found.floor, _scale(found, untrained)
    if not _is_telling(found, scale):
        return None
    if found.is_like_real or excess <= GOOD_SHARE * scale:
        return "good"
    return "ok" if excess <= OK_SHARE * scale else "poor"


def _scale(found: Verdict, untrained: float) -> float:
    """Excess of the untrained generator over the baseline; both generators were measured with equally many images"""
    return (untrained - found.value) + (found.compared - (found.floor or 0.0))


def _is_telling(found: Verdict, scale: float) -> bool:
    """Whether there are enough images to tell a good generator from a poor one"""
    return NOISE_ERRORS * found.noise < OK_SHARE * scale


def _memorized_grade(found: Verdict, others: Sequence[Verdict]) -> Grade | None:
    """Copies are copies, but their absence says nothing of images that are far from all real ones

    Needs no untrained generator, whose images are far from all others, so that it scores low.
    """
    if found.floor is None or not all(map(math.isfinite, (found.compared, found.floor))):
        return None
    if not found.is_like_real:
        above = found.compared - found.floor - NOISE_ERRORS * found.noise
        return "poor" if above > FEW_COPIES else "ok"
    precision = find_verdict(others, "precision")
    return None if precision is not None and precision.grade == "poor" else "good"


def _share_grade(value: float, floor: float) -> Grade | None:
    """Of a score of which real images reach `floor`"""
    if floor <= 0:
        return None
    return "good" if value >= GOOD_SHARE_OF_REAL * floor else "ok" if value >= OK_SHARE_OF_REAL * floor else "poor"


def headline(judged: Sequence[Verdict]) -> str:
    """The result in one plain sentence: what holds it back most, or how good it is.

    Raises ValueError if neither KID nor FID was measured.
    """
    found, untrained = _distance(judged)
    if not math.isfinite(found.value):
        return "Failed: the generated images cannot be measured."
    copies = find_verdict(judged, "memorized")
    if copies is not None and copies.grade == "poor":
        return f"It copies: {copies.value:.1%} of its images look like copies of training images."
    if not found.is_like_real and untrained - found.value <= NOISE_ERRORS * found.noise:
        return "Not yet: its images are no closer to real ones than those of an untrained network."
    if not _is_telling(found, _scale(found, untrained)):
        return "Undecided: too few images to tell a good generator from a poor one."
    worst = _worst(judged, found)
    if worst.grade is None:
        why = (
            "nothing says what real images score" if found.floor is None else "nothing like it was measured to compare"
        )
        return f"Not graded: {found.metric.label} is {short(found.value, 3)}, and {why}."
    if worst.grade == found.grade == "good" and found.is_like_real:
        return f"Like real images, as far as so many images tell: {_outcome(worst)}."
    return f"{_OPINION[worst.grade]}: {_outcome(worst)}."


_OPINION: dict[Grade, str] = {"good": "Good", "ok": "Fair", "poor": "Not yet"}
_ORDER: dict[Grade | None, int] = {"poor": 0, "ok": 1, "good": 2, None: 3}


def _worst(judged: Sequence[Verdict], distance: Verdict) -> Verdict:
    """What decides: the lowest grade, and of equals what people see first"""
    shares = (find_verdict(judged, "precision"), find_verdict(judged, "recall"))
    return min((each for each in (*shares, distance) if each is not None), key=lambda each: _ORDER[each.grade])


def _outcome(found: Verdict) -> str:
    """A number beside that of real images, in words"""
    own, real = f"{found.compared:.1%}", f"{found.floor or 0:.1%}"
    if found.metric.kind == "precision":
        return f"{own} of its images pass for real; of real images, {real} do"
    if found.metric.kind == "recall":
        return f"it draws {own} of the variety of real images; other real images reach {real}"
    floor = "" if found.floor is None else f"; real images score {short(found.floor, 2)}"
    return f"its {found.metric.label} is {short(found.compared, 3)}{floor}"


def summary(judged: Sequence[Verdict], num_images: int) -> str:
    """The distance that results are judged by, beside what real images and the untrained network score"""
    found, untrained = _distance(judged)
    if found.floor is None:
        baseline = "what real images score against other real images was not measured,"
    else:
        baseline = f"real images against other real images score {short(found.floor, 2)} (the baseline),"
    images = counted(num_images, "generated image")
    start = f"{found.metric.label} {short(found.value, 3)}, measured with {images} at psi 1;"
    if found.metric.kind != "kid" and found.floor is not None and found.compared != found.value:
        # Of other numbers of images it is another number.
        start += f" with as many images as the baseline {short(found.compared, 3)};"
    return f"{start} {baseline} and the untrained network scores {short(untrained, 3)}."


def _distance(judged: Sequence[Verdict]) -> tuple[Verdict, float]:
    """What results are judged by, and what the untrained generator scores in it"""
    found = find_verdict(judged, *DISTANCES)
    if found is None or found.untrained is None:
        raise ValueError("reports/metrics.json lacks kid_* or fid_*, or its untrained. Run `dvc repro evaluate` again.")
    return found, found.untrained


def find_verdict(judged: Sequence[Verdict], *kinds: Kind) -> Verdict | None:
    """The first verdict of the first kind that was measured"""
    return next((verdict for kind in kinds for verdict in judged if verdict.metric.kind == kind), None)
