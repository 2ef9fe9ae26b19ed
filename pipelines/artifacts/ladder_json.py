"""reports/ablate/<ladder>/results.json: what became of every row of a ladder; and peaks/<hash>.json of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pipelines.artifacts import artifact
from pipelines.artifacts.artifact import Artifact, Values
from pipelines.artifacts.metrics_json import Metrics

FILE = "results.json"


class Quantiles(Values):
    """Of the peaks of feature maps (stylegan/analysis/peaks.py)."""

    num_maps: float
    p1: float
    p25: float
    median: float
    p75: float
    p99: float
    p99_9: float
    max: float


class Peaks(Artifact):
    """The peaks of a run's generator."""

    noun: ClassVar = "a measurement of peaks"
    command: ClassVar = "make ablate"

    version: Literal[1] = 1
    by_resolution: Mapping[int, Quantiles]


class LadderRow(Values):
    """What became of a row; one that failed has no numbers."""

    row: str
    label: str
    problem: str | None = None  # what a failed row said
    run: str = ""  # its fingerprint
    metrics: Metrics = ()
    delta: float | None = None  # of the distance, from that of `against`
    against: str | None = None
    snapshot_kimg: float | None = None
    num_images: int | None = None  # trained on
    mode: str = ""  # of augmentation
    G_parameters: int | None = None
    D_parameters: int | None = None
    kimg: float | None = None
    peaks: Mapping[int, Quantiles] = {}  # by resolution
    peak_resolution: int | None = None  # the highest that all rows have
    peak_median: float | None = None
    peak_p99_9: float | None = None

    @property
    def is_measured(self) -> bool:
        """Whether it was trained and measured"""
        return bool(self.metrics)


class LadderResults(Artifact):
    """What a ladder found."""

    noun: ClassVar = "the results of a ladder"
    command: ClassVar = "make ablate"

    version: Literal[1] = 1
    ladder: str
    rows: tuple[LadderRow, ...]
    best: str | None  # the row with the lowest distance


def read(folder: Path) -> LadderResults:
    """Raises FileNotFoundError, or ArtifactError for another version or a damaged file."""
    return artifact.read(LadderResults, folder / FILE)


def write(folder: Path, ladder: str, rows: Sequence[LadderRow], best: str | None) -> None:
    """Write what became of the rows of a ladder."""
    artifact.write(folder / FILE, LadderResults(ladder=ladder, rows=tuple(rows), best=best))


def read_peaks(path: Path) -> Mapping[int, Quantiles]:
    """Raises FileNotFoundError, or ArtifactError for another version or a damaged file."""
    return artifact.read(Peaks, path, artifact.IN_RUNS).by_resolution


def write_peaks(path: Path, by_resolution: Mapping[int, Quantiles]) -> None:
    """Write the peaks of a run's generator."""
    artifact.write(path, Peaks(by_resolution=by_resolution))
