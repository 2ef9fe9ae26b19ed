"""reports/ablate/<ladder>/results.json: what became of every row of a ladder; and peaks/<hash>.json of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pipelines.artifacts import artifact
from pipelines.artifacts.artifact import Artifact, Values
from pipelines.artifacts.metrics_json import Metrics
from stylegan.metrics.evaluation.metric import Bounds

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


class SeedRun(Values):
    """What one training of a row reached."""

    seed: int  # train.seed
    run: str  # its fingerprint
    metrics: Metrics
    snapshot_kimg: float | None = None
    kimg: float | None = None  # trained


class LadderRow(Values):
    """What became of a row; one that failed with every seed has no numbers."""

    row: str
    label: str
    problem: str | None = None  # what the first failed run said
    runs: tuple[SeedRun, ...] = ()  # that were measured, one per seed
    metrics: Metrics = ()  # means over the runs, with the sample standard deviation of one run; of one, its own
    delta: float | None = None  # of the distance, from that of `against`
    delta_interval: Bounds | None = None  # Welch's; all of a ladder hold at 95%; null with one run on a side
    verdict: Literal["better", "worse"] | None = None  # than `against`, where the interval excludes 0
    against: str | None = None
    num_images: int | None = None  # trained on
    num_gen: int | None = None  # generated images of each measurement
    num_real: int | None = None  # real ones that they are compared with
    mode: str = ""  # of augmentation
    G_parameters: int | None = None
    D_parameters: int | None = None
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

    version: Literal[2] = 2
    ladder: str
    rows: tuple[LadderRow, ...]
    lowest: str | None  # the row with the lowest mean distance, by luck or not: see verdicts


def read(folder: Path) -> LadderResults:
    """Raises FileNotFoundError, or ArtifactError for another version or a damaged file."""
    return artifact.read(LadderResults, folder / FILE)


def write(folder: Path, ladder: str, rows: Sequence[LadderRow], lowest: str | None) -> None:
    """Write what became of the rows of a ladder."""
    artifact.write(folder / FILE, LadderResults(ladder=ladder, rows=tuple(rows), lowest=lowest))


def read_peaks(path: Path) -> Mapping[int, Quantiles]:
    """Raises FileNotFoundError, or ArtifactError for another version or a damaged file."""
    return artifact.read(Peaks, path, artifact.IN_RUNS).by_resolution


def write_peaks(path: Path, by_resolution: Mapping[int, Quantiles]) -> None:
    """Write the peaks of a run's generator."""
    artifact.write(path, Peaks(by_resolution=by_resolution))
