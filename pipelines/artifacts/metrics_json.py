"""reports/metrics.json: what was measured of a generator, and how; and headline.json, a few of its numbers for DVC.

In metrics.json:

    version           of this schema
    extractor         name, sha256 of the weights, input_size in pixels
    num_images        generated images per measurement
    num_real          images of the split, all of which are compared with
    floor_num_images  real images that play the generator in `floor`, and generated ones in `like_floor`
    floor_num_real    the other real images of the split, which both are compared with
    floor_num_splits  random splits of the real images into these two; numbers are means over them
    prepare_resize_filter  the filter that brought the real images to their size; null where no manifest says
    seed, resize_filter, split, archive_sha256, generator_sha256
    cur_nimg          real images the generator was trained on; null where the file does not say
    measures          a list of every number's name with what it is: kind, extractor (the network that measured), unit,
                      lower_is_better; names end in the network, or are those of a published protocol; redrawn: what an
                      interval draws again, being for the number that equally many others would give
    metrics           {name: number} of what evaluate.metrics asks for, at psi = 1
    intervals         {name: [low, high]} of some of them; `confidence` is their level
    floor             metrics of real images: a random part of the split against the disjoint rest, mean over splits; no
                      ppl, no fid_infinity; memorized_* is that of each image among the others
    floor_sd          {name: standard deviation of one split}
    like_floor        the generator at psi = 1, measured like the floor: against the same parts of the real images, with
                      as many generated ones. What is compared with the floor is this, not `metrics`; like_floor_sd
    untrained         as metrics, of the generator that training started from
    truncation        a list over psi, ascending: psi, metrics, intervals; also the rows of psi_sweep.csv
    recommended       the psi that is the best trade, and a sentence that says why
    neighbors         generated images suspiciously near to training images, as drawn in neighbors.png: rows, distance
                      to each of the k nearest, spacing (from the nearest one to its own nearest); null if not measured
    realism           images with the highest realism scores (best) and the lowest (worst), from high to low, drawn in
                      realism.png; null where precision was not measured
    per_class         label, name, num_real, num_gen, distance of each class; null without classes
    failures          measurement, metric, reason of each that could not be computed, which is also a note
    infinity          r2 and num_images of the line through which FID-infinity was found; null if not measured
    notes             what to know before the numbers are compared

In memory a number is a Metric, which knows all that the file says of it in several places. NaN and infinity are written
as such.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypedDict

from pydantic import Field

from pipelines.artifacts import artifact
from pipelines.artifacts.artifact import Artifact, Values
from stylegan import files
from stylegan.metrics.evaluation.metric import Metric, by_name, find
from stylegan.wording import counted

Metrics = tuple[Metric, ...]
Count = Annotated[int, Field(ge=0)]
OVER_SPLITS = ("floor", "like_floor")  # whose numbers are means over splits, with a standard deviation


class ExtractorFacts(Values):
    """The network that measured."""

    name: str
    sha256: str
    input_size: int


class Truncation(Values):
    """What was measured at one psi."""

    psi: float
    metrics: Metrics


class Recommended(Values):
    """The truncation to show images at, and why in one sentence."""

    psi: float
    sentence: str


class Neighbors(Values):
    """The most suspicious generated images `rows`, and how near their k nearest training images are."""

    k: int
    rows: tuple[int, ...]
    distance: tuple[tuple[float, ...], ...]
    spacing: tuple[float, ...]


class Realism(Values):
    """Generated images that look most and least like real ones, and their scores."""

    best: tuple[int, ...]
    best_scores: tuple[float, ...]
    worst: tuple[int, ...]
    worst_scores: tuple[float, ...]


class ClassResult(Values):
    """The distance within one class."""

    label: int
    name: str | None
    num_real: int
    num_gen: int
    distance: float | None  # None if there are too few images

    @property
    def title(self) -> str:
        """Its name, or without one its number"""
        return str(self.label) if self.name is None else self.name


class FailureFacts(Values):
    """A number that could not be computed, and why."""

    measurement: str  # generator at psi 1, untrained generator, floor
    metric: str
    reason: str

    @property
    def sentence(self) -> str:
        """For people"""
        what = "The floor" if self.metric == self.measurement else f"{self.metric} of the {self.measurement}"
        return f"{what} was not measured. {self.reason}"


class InfinityFacts(Values):
    """The line of FID-infinity."""

    r2: float
    num_images: tuple[int, ...]


class MetricsReport(Artifact):
    """Everything measured of one generator."""

    noun: ClassVar = "a measurement"
    command: ClassVar = "dvc repro evaluate"

    version: Literal[3] = 3
    extractor: ExtractorFacts
    num_images: Count
    num_real: Count
    floor_num_images: Count
    floor_num_real: Count
    floor_num_splits: Count
    seed: int
    resize_filter: str
    prepare_resize_filter: str | None
    split: str
    archive_sha256: str
    generator_sha256: str
    cur_nimg: int | None
    metrics: Metrics
    confidence: Annotated[float, Field(gt=0, lt=1)]
    floor: Metrics
    like_floor: Metrics
    untrained: Metrics
    truncation: tuple[Truncation, ...]
    recommended: Recommended
    neighbors: Neighbors | None
    realism: Realism | None
    per_class: tuple[ClassResult, ...] | None
    failures: tuple[FailureFacts, ...]
    infinity: InfinityFacts | None
    notes: tuple[str, ...]

    @classmethod
    def unfolded(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Each number with what `measures` says of its name, and its interval"""
        measures = {
            each["name"]: {key: each[key] for key in ("name", "kind", "extractor")} for each in values["measures"]
        }

        def metrics(
            numbers: Mapping[str, float], intervals: Mapping[str, list[float]], sd: Mapping[str, float]
        ) -> list[dict[str, object]]:
            for name in [*numbers, *intervals, *sd]:
                if name not in measures or name not in numbers:
                    raise ValueError(f"{name} is missing in measures or has an interval and no number")
            return [
                measures[name] | {"value": numbers[name], "interval": intervals.get(name), "sd": sd.get(name)}
                for name in numbers
            ]

        found = {name: metrics(values[name], {}, values[f"{name}_sd"]) for name in OVER_SPLITS}
        found["untrained"] = metrics(values["untrained"], {}, {})
        truncation = [
            {"psi": row["psi"], "metrics": metrics(row["metrics"], row["intervals"], {})}
            for row in values["truncation"]
        ]
        if len({frozenset(row["metrics"]) for row in values["truncation"]}) > 1:
            raise ValueError("the rows of truncation do not have the same metrics")
        found |= {"metrics": metrics(values["metrics"], values["intervals"], {}), "truncation": truncation}
        apart = {"measures", "intervals", *(f"{name}_sd" for name in OVER_SPLITS)}
        return {name: value for name, value in values.items() if name not in apart} | found

    def folded(self) -> dict[str, object]:
        """As in the file: numbers by name, what the names are, and intervals, apart"""
        groups = [self.metrics, self.floor, self.like_floor, self.untrained, *(row.metrics for row in self.truncation)]
        measures = [
            {
                "name": each.name, "kind": each.kind, "extractor": each.extractor, "unit": each.unit,
                "lower_is_better": each.lower_is_better, "redrawn": each.redrawn,
            }
            for each in by_name(metric for metrics in groups for metric in metrics).values()
        ]  # fmt: skip
        content: dict[str, object] = {}
        for name, value in self.model_dump(mode="json").items():
            if name == "metrics":
                content |= {"measures": measures, **_numbers(self.metrics)}
            elif name in OVER_SPLITS:
                metrics: Metrics = getattr(self, name)
                content |= {name: _numbers(metrics)["metrics"], f"{name}_sd": _deviations(metrics)}
            else:
                content[name] = value
        truncation = [{"psi": row.psi, **_numbers(row.metrics)} for row in self.truncation]
        return content | {"untrained": _numbers(self.untrained)["metrics"], "truncation": truncation}

    @property
    def by_rising_psi(self) -> list[Truncation]:
        """The truncation sweep in its order"""
        return sorted(self.truncation, key=lambda row: row.psi)


VERSION = artifact.version_of(MetricsReport)


def read(path: Path, remedy: str | None = None) -> MetricsReport:
    """Raises FileNotFoundError, or ArtifactError for another version or a damaged file, with the remedy."""
    return artifact.read(MetricsReport, path, remedy)


def write(path: Path, report: MetricsReport) -> None:
    """Write the report, whole."""
    artifact.write(path, report)


def write_headline(path: Path, report: MetricsReport) -> None:
    """Write the numbers that runs are compared by, each by its kind: `dvc metrics show` has one column for each."""
    named: dict[str, float] = {}
    for metric in report.metrics:
        named.setdefault(metric.kind, metric.value)
    # Of KID alone: what real images score in others is of other numbers of images.
    kid = find(report.floor, "kid")
    baseline = {} if kid is None else {"kid_of_real": kid.value}
    files.write_json(path, named | baseline | {"psi": report.recommended.psi})


def write_csv(path: Path, rows: Sequence[Truncation]) -> None:
    """Write the truncation sweep, one row a psi, the bounds of an interval as columns NAME_low and NAME_high."""
    files.write_csv(path, [{"psi": row.psi} | cells(row.metrics) for row in rows])


def cells(metrics: Sequence[Metric]) -> dict[str, float]:
    """Numbers as cells of a table by column, then the bounds of their intervals"""
    bounded = [(metric.name, metric.interval) for metric in metrics if metric.interval is not None]
    bounds = {f"{name}_{end}": getattr(interval, end) for name, interval in bounded for end in ("low", "high")}
    return {metric.name: metric.value for metric in metrics} | bounds


def table(report: MetricsReport) -> str:
    """The generator and the untrained one; and with the numbers of images of the floor, generator and real images"""
    lines = [f"{report.num_images} generated against {report.num_real} real images:"]
    lines += [f"{'':24}{'generator':>12}{'untrained':>12}   {report.confidence:.0%} interval"]
    untrained, like_floor = by_name(report.untrained), by_name(report.like_floor)
    for metric in report.metrics:
        bounds = metric.interval
        shown = "" if bounds is None else f"   {bounds.low:.4g} to {bounds.high:.4g}"
        lines.append(f"{metric.name:24}{_cell(metric):>12}{_cell(untrained.get(metric.name)):>12}{shown}")
    if report.floor:
        lines.append(
            f"with {report.floor_num_real} real and {report.floor_num_images} other images, mean (sd) of "
            f"{counted(report.floor_num_splits, 'split')}:"
        )
        lines.append(f"{'':24}{'generator':>24}{'real':>24}")
        split = [real for real in report.floor if real.name in like_floor]  # shares of copies are of all images
        lines += [f"{real.name:24}{_cell(like_floor[real.name]):>24}{_cell(real):>24}" for real in split]
    return "\n".join([*lines, *report.notes])


def _cell(metric: Metric | None) -> str:
    if metric is None:
        return ""
    return f"{metric.value:.4g}" + ("" if metric.sd is None else f" ({metric.sd:.2g})")


def _deviations(metrics: Sequence[Metric]) -> dict[str, float]:
    return {metric.name: metric.sd for metric in metrics if metric.sd is not None}


class _Numbers(TypedDict):
    metrics: dict[str, float]
    intervals: dict[str, list[float]]


def _numbers(metrics: Sequence[Metric]) -> _Numbers:
    intervals = {metric.name: list(metric.interval) for metric in metrics if metric.interval is not None}
    return {"metrics": {metric.name: metric.value for metric in metrics}, "intervals": intervals}
