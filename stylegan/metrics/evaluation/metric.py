"""A measured number: of which kind it is, which network measured it, and how sure it is.

The name says by which protocol (names.py); nobody reads the kind out of the name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import ConfigDict

from stylegan.config.strict import Section

Kind = Literal[
    "kid", "fid", "frechet", "fid_infinity", "precision", "recall", "density", "coverage", "memorized", "is", "ppl"
]
Unit = Literal["distance", "share", "score"]


# What is drawn again for an interval, which is for the number that equally many others would give.
REDRAWN = "real and generated images"
REDRAWN_PATHS = "paths of generated images"


class _Meaning(NamedTuple):
    label: str  # what a sentence calls it
    unit: Unit
    lower_is_better: bool
    redrawn: str | None = None  # where there is an interval


KINDS: dict[Kind, _Meaning] = {
    "kid": _Meaning("KID", "distance", True, REDRAWN),
    "fid": _Meaning("FID", "distance", True),
    "frechet": _Meaning("Frechet distance", "distance", True),  # by a network whose distances are no FID
    "fid_infinity": _Meaning("fid_infinity", "distance", True),
    "precision": _Meaning("precision", "share", False, REDRAWN),
    "recall": _Meaning("recall", "share", False, REDRAWN),
    "density": _Meaning("density", "share", False, REDRAWN),
    "coverage": _Meaning("coverage", "share", False, REDRAWN),
    "memorized": _Meaning("memorized", "share", True),
    "is": _Meaning("IS", "score", False),
    "ppl": _Meaning("PPL", "distance", True, REDRAWN_PATHS),
}
DISTANCES: tuple[Kind, ...] = ("kid", "fid", "frechet")  # of generated to real images, the fairest to small sets first


@dataclass(frozen=True)
class MetricName:
    """What a number is called, and what it is."""

    name: str
    kind: Kind
    extractor: str  # the network that measures it


class Bounds(NamedTuple):
    """A confidence interval, for what equally many other images of the same two kinds would score."""

    low: float
    high: float


class Metric(Section):
    """One measured number."""

    model_config = ConfigDict(allow_inf_nan=True)

    name: str
    kind: Kind
    extractor: str
    value: float
    interval: Bounds | None = None
    sd: float | None = None  # of a mean over several splits: the standard deviation of one of them

    @property
    def label(self) -> str:
        """What a sentence calls it: KID, FID, recall"""
        return KINDS[self.kind].label

    @property
    def unit(self) -> Unit:
        """What it counts"""
        return KINDS[self.kind].unit

    @property
    def lower_is_better(self) -> bool:
        """Its direction"""
        return KINDS[self.kind].lower_is_better

    @property
    def redrawn(self) -> str | None:
        """What its interval draws again; None for a kind without one"""
        return KINDS[self.kind].redrawn


def find(metrics: Iterable[Metric], *kinds: Kind) -> Metric | None:
    """The first metric of the first kind that was measured"""
    found = {metric.kind: metric for metric in reversed([*metrics])}
    return next((found[kind] for kind in kinds if kind in found), None)


def by_name(metrics: Iterable[Metric]) -> dict[str, Metric]:
    """The same metrics, to be looked up by their names"""
    return {metric.name: metric for metric in metrics}


def distance_of(metrics: Sequence[Metric]) -> Metric:
    """The distance that results are judged by: KID, or without it FID, or the Frechet distance.

    Raises ValueError when none was measured.
    """
    found = find(metrics, *DISTANCES)
    if found is None:
        raise ValueError("no kid, fid or frechet was measured. Add kid or fid to evaluate.metrics.")
    return found


def short(value: float, digits: int) -> str:
    """A number for people: so many significant digits, and never 1.4e+03"""
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text else text
