"""Statistics -> numbers: what one set of generated images scores against the real ones, and how sure that is.

N real, M generated images, F features, C channels, S pixels of a thumbnail.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean, stdev

import numpy as np
import torch
from torch import Tensor

from stylegan.config.sections import EvaluateConfig
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.bootstrap import Interval, kernel_interval
from stylegan.metrics.evaluation.metric import Bounds, Kind, Metric, MetricName
from stylegan.metrics.evaluation.names import MetricNames
from stylegan.metrics.evaluation.ranks import gather_rows
from stylegan.metrics.extractors import Classifier, Extractor
from stylegan.metrics.fid import FeatureMoments, Gaussian, fit, gaussian_distance
from stylegan.metrics.fid_infinity import Extrapolation, frechet_infinity, refuse_few
from stylegan.metrics.half_samples import Halves, half_samples, intervals_by_halves
from stylegan.metrics.inception_score import inception_score
from stylegan.metrics.kid import kernel_distance
from stylegan.metrics.left_out import LeftOut, kernel_distance_left_out
from stylegan.metrics.memorization import TrainingNeighbors, thumbnails, training_neighbors
from stylegan.metrics.per_class import ClassDistance
from stylegan.metrics.precision_recall import membership

# Metrics that need every feature; a Frechet distance is content with moments, whose memory does not grow with N.
OF_FEATURES = frozenset({"kid", "pr", "is", "fid_infinity"})
# Real and generated images of which errors are estimated. They cost the square of it; of more, a random part is enough.
MOST_FOR_ERRORS, LEAST_FOR_ERRORS = 5000, 200  # the latter of the smaller side goes first
INFINITY_POINTS = 15  # of the published line, which starts at a tenth of the images (Chong and Forsyth 2020)


@dataclass(frozen=True)
class Statistics:
    """All that is compared of a set of images."""

    gaussian: Gaussian
    features: Tensor | None = None  # float32 [N, F], where a metric needs them
    thumbnails: Tensor | None = None  # float32 [N, C, S, S], where memorisation is asked for

    def to(self, device: torch.device | str) -> "Statistics":
        """The same on another device"""
        kept = (None if each is None else each.to(device) for each in (self.features, self.thumbnails))
        return Statistics(self.gaussian.to(device), *kept)


def summarise(features: Tensor) -> Statistics:
    """Statistics of features [N, F]"""
    return Statistics(fit(features), features)


class Collector:
    """What is compared of one set of images on one rank, as they come: features or their moments, and thumbnails."""

    def __init__(self, extractor: Extractor, device: torch.device, *, keep: bool, shrink: bool) -> None:
        self._extractor, self._device, self._shrink = extractor, device, shrink
        self._pieces: list[Tensor] = []
        self._thumbnails: list[Tensor] = []
        self._moments = None if keep else FeatureMoments(extractor.num_features, device)

    def append(self, img: Tensor) -> None:
        """Add a batch of images, uint8 [n, C, H, W]."""
        features = self._extractor(img)
        if self._moments is None:
            self._pieces.append(features.cpu())
        else:
            self._moments.append(features)
        if self._shrink:
            self._thumbnails.append(thumbnails(img).cpu())

    def together(self, dst: int | None) -> Statistics | None:
        """Statistics of what all ranks collected, on rank dst, or on every rank; every rank has to call it, once"""
        small = gather_rows(self._thumbnails, dst) if self._shrink else None
        small = None if small is None else small.to(self._device)
        if self._moments is None:
            features = gather_rows(self._pieces, dst)
            return None if features is None else replace(summarise(features.to(self._device)), thumbnails=small)
        self._moments.all_reduce_()
        return Statistics(Gaussian(*self._moments.mean_and_cov(), factor=None), thumbnails=small)


@dataclass(frozen=True)
class Details:
    """What is found about a generator besides numbers: its copies, the distance within each class, realism."""

    neighbors: TrainingNeighbors | None
    per_class: list[ClassDistance] | None
    realism: Tensor | None  # [M], where precision is asked for


@dataclass(frozen=True)
class Failure:
    """An entry of evaluate.metrics that could not be measured, and why; the others could."""

    metric: str
    reason: str


def resampling(config: EvaluateConfig) -> tuple[int, int, float]:
    """Resamplings, seed and level of confidence intervals"""
    return config.bootstrap_num_resamples, config.seed, config.bootstrap_level


@dataclass
class Measured:
    """Numbers, some with a confidence interval, and details where asked for."""

    metrics: list[Metric] = field(default_factory=list)
    details: Details | None = None
    failures: list[Failure] = field(default_factory=list)
    line: Extrapolation | None = None  # of FID-infinity
    like_floor: "Measured | None" = None  # measured again with as many images as the real-image baseline
    # Beside intervals: what KID, precision and recall are without some of the images, to compare psi that share them.
    kid_left_out: LeftOut | None = None
    halves: Halves | None = None

    def add(self, named: MetricName, value: float, interval: Interval | None = None) -> None:
        """Take in a number, with its interval if it has one."""
        bounds = None if interval is None else Bounds(interval.low, interval.high)
        self.metrics.append(Metric(**asdict(named), value=value, interval=bounds))

    @property
    def numbers(self) -> dict[str, float]:
        """Each number by its name"""
        return {metric.name: metric.value for metric in self.metrics}

    @property
    def intervals(self) -> dict[str, Bounds]:
        """Each confidence interval by the name of its number"""
        return {metric.name: metric.interval for metric in self.metrics if metric.interval is not None}

    def without(self, kind: Kind) -> "Measured":
        """The same but for the numbers of a kind"""
        return replace(self, metrics=[metric for metric in self.metrics if metric.kind != kind])


@dataclass(frozen=True)
class Comparison:
    """Generated against real images, by one extractor."""

    config: EvaluateConfig
    names: MetricNames
    extractor: Extractor
    real: Statistics
    gen: Statistics
    bootstrap: bool  # whether confidence intervals are computed too

    def measure(self) -> Measured:
        """The numbers that evaluate.metrics asks for, but path lengths; one that fails costs no other"""
        measured = Measured()
        for metric in self.config.metrics:
            try:
                if metric in MEASURES:
                    MEASURES[metric](self, measured)
            except (MetricError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
                measured.failures.append(Failure(metric, str(error)))
        return measured

    def features(self) -> tuple[Tensor, Tensor]:
        """Of real [N, F] and generated images [M, F]"""
        assert self.real.features is not None, "a metric of OF_FEATURES"
        assert self.gen.features is not None, "a metric of OF_FEATURES"
        return self.real.features, self.gen.features

    def part_for_errors(self) -> tuple[Tensor, Tensor, float]:
        """The same share of the real and of the generated images, and the share; the same images at every psi

        Equal shares: how much a number of neighbours varies depends on the ratio of both sets.
        """
        rng, sides = np.random.default_rng(self.config.seed), self.features()
        share = min(1.0, max(MOST_FOR_ERRORS / max(map(len, sides)), LEAST_FOR_ERRORS / min(map(len, sides))))
        real, gen = (_part(features, share, rng) for features in sides)
        return real, gen, share

    def kid(self, measured: Measured) -> None:
        config, (real, gen) = self.config, self.features()
        kid = kernel_distance(real, gen, config.kid_num_subsets, config.kid_subset_size, seed=config.seed)
        interval = None
        if self.bootstrap:
            some_real, some_gen, share = self.part_for_errors()
            interval = kernel_interval(some_real, some_gen, *resampling(config))
            if share < 1:
                interval = interval.around(kid, share**0.5)
            if min(len(some_real), len(some_gen)) > 2:
                measured.kid_left_out = replace(kernel_distance_left_out(some_real, some_gen), share=share)
        measured.add(self.names.kid, kid, interval)

    def fid(self, measured: Measured) -> None:
        measured.add(self.names.fid, gaussian_distance(self.real.gaussian, self.gen.gaussian))

    def pr(self, measured: Measured) -> None:
        features, k = self.features(), self.config.pr_neighbors
        found = membership(*features, k)
        num_resamples, seed, level = resampling(self.config)
        intervals = {}
        real, gen, share = self.part_for_errors()
        if self.bootstrap and min(len(real), len(gen)) // 2 > k:  # of fewer, a half has no neighbours
            measured.halves = replace(half_samples(real, gen, k, num_resamples, seed), share=share)
            intervals = intervals_by_halves(found, measured.halves, level)
        for term in ("precision", "recall", "density", "coverage"):
            measured.add(getattr(self.names, term), getattr(found, term), intervals.get(term))

    def inception_score(self, measured: Measured) -> None:
        _, gen = self.features()
        if not isinstance(self.extractor, Classifier):
            raise MetricError(
                f"inception score: the extractor {self.extractor.name} has no class scores. Take `is` out of "
                "evaluate.metrics, or set evaluate.extractor to inception or efficientnet_lite0."
            )
        measured.add(self.names.inception_score, inception_score(self.extractor.scores(gen))[0])

    def fid_infinity(self, measured: Measured) -> None:
        real, gen = self.features()
        refuse_few(len(gen), gen.shape[1])
        measured.line = frechet_infinity(real, gen, INFINITY_POINTS, len(gen) // 10, self.config.seed)
        measured.add(self.names.fid_infinity, measured.line.value)

    def memorization(self, measured: Measured) -> None:
        if self.real.thumbnails is not None and self.gen.thumbnails is not None:  # a part of the real images has none
            found = training_neighbors(self.real.thumbnails, self.gen.thumbnails, k=1)
            measured.add(self.names.memorized, found.memorized)


def _part(features: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """A share of the rows of features [N, F] at random, or all in their order"""
    if share == 1:
        return features
    rows = rng.permutation(len(features))[: round(share * len(features))]
    return features[torch.from_numpy(rows).to(features.device)]


def over_splits(found: Sequence[Measured]) -> Measured:
    """Mean and standard deviation of each number over several splits; what failed in one of them is left out"""
    failures = {failure.metric: failure for each in found for failure in each.failures}
    together = []
    for metric in found[0].metrics:
        values = [each.numbers.get(metric.name, torch.nan) for each in found]
        if all(metric.name in each.numbers for each in found):
            sd = stdev(values) if len(values) > 1 else None
            together.append(metric.model_copy(update={"value": fmean(values), "sd": sd}))
    return Measured(together, failures=[*failures.values()])


MEASURES: dict[str, Callable[[Comparison, Measured], None]] = {
    "kid": Comparison.kid,
    "fid": Comparison.fid,
    "pr": Comparison.pr,
    "is": Comparison.inception_score,
    "fid_infinity": Comparison.fid_infinity,
    "memorization": Comparison.memorization,
}
