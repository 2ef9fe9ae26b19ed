"""Images -> features -> statistics -> numbers, on all ranks together.

Every rank makes its share of the images, each at every psi, so that latents, noise and networks of a batch serve the
whole sweep. Then the statistics of each measurement go to the rank whose turn it is, and all compute numbers at once.
N images, F features, P pairs of a path.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import numpy as np
import torch
from torch import Tensor

from stylegan import images
from stylegan.config.sections import EvaluateConfig
from stylegan.data import ImageDataset
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.bootstrap import sample_interval
from stylegan.metrics.evaluation.comparison import (
    OF_FEATURES,
    Collector,
    Comparison,
    Details,
    Failure,
    Measured,
    Statistics,
    over_splits,
    resampling,
    summarise,
)
from stylegan.metrics.evaluation.floor import splits_for_floor
from stylegan.metrics.evaluation.names import MetricNames, metric_names, path_length_name
from stylegan.metrics.evaluation.ppl import PROTOCOLS, path_lengths, perceptual_path_length
from stylegan.metrics.evaluation.ranks import gather_rows, in_turn, own_batches, turn_of
from stylegan.metrics.evaluation.sampling import draw_noise, draw_w, noise_ahead, synthesize_w
from stylegan.metrics.extractors import Extractor
from stylegan.metrics.extractors.lpips import Lpips
from stylegan.metrics.memorization import among_others, training_neighbors
from stylegan.metrics.per_class import class_frechet_distances, is_one_hot
from stylegan.metrics.realism import realism
from stylegan.networks import Generator
from stylegan.state import creation_seed

# Passes batches on, and counts for how many images each of their rows stands: a progress bar.
Track = Callable[[Iterable[range], int], Iterable[range]]
TOO_FEW = "the real-vs-real floor needs two halves of at least 2 images; the split has {}. Add images to the archive."
NUM_NEIGHBORS = 3  # training images found for each generated one


@dataclass(frozen=True)
class Sweep:
    """One generator at several truncations, which share labels, latents and noise."""

    name: str
    G: Generator
    psis: tuple[float, ...]


@dataclass(frozen=True)
class Reference:
    """Real images that generated ones are compared with."""

    real: Statistics
    c: Tensor  # [N, c_dim], their labels

    def to(self, device: torch.device | str) -> "Reference":
        """The same on another device"""
        return Reference(self.real.to(device), self.c)


@dataclass(frozen=True)
class Observed:
    """What one rank keeps of its share of one measurement."""

    collector: Collector
    lengths: dict[str, list[Tensor]]  # of paths, by protocol


@dataclass(frozen=True)
class Evaluator:
    """Measures generators against real images, always with the same labels, latents and noise."""

    config: EvaluateConfig
    extractor: Extractor
    lpips: Lpips | None  # where path lengths are asked for
    c: Tensor  # [N, c_dim], of as many images as the larger of num_images and ppl_num_pairs
    whole_set: int | None  # number of real images if they are all that there are; published names ask for that
    device: torch.device

    @property
    def keeps_features(self) -> bool:
        """Whether a metric needs every feature"""
        return bool(OF_FEATURES & set(self.config.metrics))

    @property
    def keeps_thumbnails(self) -> bool:
        """Whether copies are looked for"""
        return "memorization" in self.config.metrics

    @property
    def protocols(self) -> list[str]:
        """Path lengths that are asked for"""
        return [metric for metric in self.config.metrics if metric in PROTOCOLS]

    @property
    def names(self) -> MetricNames:
        """What the numbers may be called"""
        return metric_names(self.config, self.extractor.name, whole_set=self.whole_set or 0)

    def to(self, device: torch.device | str) -> Self:
        """Move the networks."""
        lpips = None if self.lpips is None else self.lpips.to(device)
        return replace(self, extractor=self.extractor.to(device), lpips=lpips, device=torch.device(device))

    def collector(self) -> Collector:
        """An empty one for a set of images"""
        return Collector(self.extractor, self.device, keep=self.keeps_features, shrink=self.keeps_thumbnails)

    def images_of(self, sweep: Sweep) -> int:
        """Images that all ranks together make of a sweep"""
        return len(sweep.psis) * (self.config.num_images + 2 * self.config.ppl_num_pairs * len(self.protocols))

    def statistics(self, dataset: ImageDataset, track: Track) -> Statistics:
        """Of every image of the dataset, on every rank; all ranks have to call it"""
        collector = self.collector()
        for rows in track(own_batches(len(dataset), self.config.batch_size), 1):
            collector.append(dataset.batch(rows)[0])
        found = collector.together(None)
        assert found is not None, "every rank gets it"
        return found

    def measure(
        self, sweeps: list[Sweep], reference: Reference, track: Track, known_floor: Measured | None = None
    ) -> list[Measured]:
        """Numbers of every sweep at every psi, in order, and the floor last  ->  on rank 0; an empty list elsewhere

        The first sweep is the headline: it alone gets intervals, and details where psi is 1. All ranks have to call it.
        Raises MetricError, on rank 0, that names the measurement which failed.
        """
        observed = [(sweep, self.observe(sweep, track)) for sweep in sweeps]
        tasks: dict[str, Callable[[], Measured]] = {}
        for sweep, shares in observed:
            for psi, share in zip(sweep.psis, shares, strict=True):
                dst = turn_of(len(tasks))
                gen = share.collector.together(dst)
                lengths = {name: gather_rows(pieces, dst) for name, pieces in share.lengths.items()}
                measure = partial(self.numbers, reference, gen, lengths, is_headline=sweep is sweeps[0])
                tasks[f"{sweep.name} at psi {psi:g}"] = partial(measure, psi=psi)
        floor = partial(self.floor, reference) if known_floor is None else lambda: known_floor
        return in_turn(tasks | {"floor": floor})

    def observe(self, sweep: Sweep, track: Track) -> list[Observed]:
        """This rank's share of the images and paths of a sweep, for each psi"""
        found = [Observed(self.collector(), {name: [] for name in self.protocols}) for _ in sweep.psis]
        config = self.config
        shares = [*own_batches(config.num_images, config.batch_size)]
        noise = noise_ahead(sweep.G, config.seed, shares)
        for rows in track(shares, len(sweep.psis)):
            for share, img in zip(found, self.pictures(sweep, rows, next(noise)[1]), strict=True):
                share.collector.append(img)
        for name in self.protocols:
            for rows in track(own_batches(config.ppl_num_pairs, config.batch_size), 2 * len(sweep.psis)):
                for share, lengths in zip(found, self.lengths(sweep, name, rows), strict=True):
                    share.lengths[name].append(lengths)
        return found

    def pictures(self, sweep: Sweep, rows: range, noise: Mapping[str, Tensor] | None = None) -> Iterator[Tensor]:
        """uint8 [n, C, H, W] of the images `rows` at each psi; noise: their draw_noise, if it is known"""
        w = draw_w(sweep.G, self.c[rows.start : rows.stop], self.config.seed, rows)
        noise = draw_noise(sweep.G, self.config.seed, rows) if noise is None else noise
        for psi in sweep.psis:
            yield images.to_uint8(synthesize_w(sweep.G, w, noise, psi, self.config.truncation_cutoff))

    def lengths(self, sweep: Sweep, protocol: str, rows: range) -> list[Tensor]:
        """Lengths [n] of the paths `rows` at each psi"""
        assert self.lpips is not None, "it is loaded where path lengths are asked for"
        config, c = self.config, self.c[rows.start : rows.stop]
        return path_lengths(
            sweep.G, self.lpips, c, PROTOCOLS[protocol], rows,
            epsilon=config.ppl_epsilon, seed=config.seed, psis=sweep.psis, cutoff=config.truncation_cutoff,
        )  # fmt: skip

    def numbers(
        self,
        reference: Reference,
        gen: Statistics | None,
        lengths: dict[str, Tensor | None],
        *,
        psi: float,
        is_headline: bool,
    ) -> Measured:
        """Everything about one generator at one psi, on the rank that has it"""
        assert gen is not None, "it was gathered where its turn is"
        intervals = is_headline and self.config.bootstrap_num_resamples > 0
        measured = self.compare(reference.real, gen, bootstrap=intervals)
        judged_by = "kid" if "kid" in self.config.metrics else "fid"
        reasons = {failure.metric: failure.reason for failure in measured.failures}
        if is_headline and judged_by in reasons:
            raise MetricError(reasons[judged_by])  # neither a headline nor a choice of psi is left
        for protocol, values in lengths.items():
            assert values is not None, "they were gathered where their turn is"
            assert self.lpips is not None, "it is loaded where path lengths are asked for"
            name = path_length_name(protocol, self.config, self.lpips.name)
            found = sample_interval(values, perceptual_path_length, *resampling(self.config)) if intervals else None
            measured.add(name, float(perceptual_path_length(values)), found)
        if is_headline and psi == 1:
            measured.details = self.details(reference, gen)
            measured.like_floor = self.like_floor(reference, gen)
        return measured

    def compare(self, real: Statistics, gen: Statistics, *, bootstrap: bool) -> Measured:
        """The numbers of one set of images against another"""
        return Comparison(self.config, self.names, self.extractor, real, gen, bootstrap).measure()

    def floor(self, reference: Reference) -> Measured:
        """What real images score against other real images, over several splits; nothing where no feature is kept

        In memorisation each image is looked for among the others.
        """
        real, measured = reference.real, Measured()
        if real.features is not None:
            measured = self.features_floor(real.features)
        if real.thumbnails is not None:
            try:
                measured.add(self.names.memorized, among_others(real.thumbnails).memorized)
            except MetricError as error:
                measured.failures.append(Failure("memorization", str(error)))
        return measured

    def splits(self, num_real: int) -> list[tuple[Tensor, Tensor]]:
        """Rows of the real images on both sides of each split of the floor"""
        config = self.config
        return splits_for_floor(num_real, config.num_images, config.floor_splits, config.seed)

    @property
    def floor_key(self) -> str:
        """What decides the floor of one set of features, beside the code"""
        names = ("num_images", "seed", "metrics", "kid_num_subsets", "kid_subset_size", "pr_neighbors", "floor_splits")
        values = self.config.model_dump(mode="json", include=set(names))
        return json.dumps([self.whole_set, values], sort_keys=True)

    def features_floor(self, features: Tensor) -> Measured:
        """The numbers of parts of real features [N, F] against the rest, over several splits"""
        splits = self.splits(len(features))
        if not splits:
            return Measured(failures=[Failure("floor", TOO_FEW.format(len(features)))])
        return over_splits([self.compare_part(features[rest], features[part]) for rest, part in splits])

    def like_floor(self, reference: Reference, gen: Statistics) -> Measured:
        """What generated images score against the same parts of the real ones as the floor, and as few as there"""
        real = reference.real.features
        if real is None or gen.features is None:
            return Measured()
        chosen, found = np.random.default_rng(self.config.seed), []
        for rest, part in self.splits(len(real)):
            rows = torch.from_numpy(chosen.choice(len(gen.features), len(part), replace=False))
            found.append(self.compare_part(real[rest], gen.features[rows]))
        return over_splits(found) if found else Measured()

    def compare_part(self, real: Tensor, gen: Tensor) -> Measured:
        """The numbers of features [M, F] against a part of the real ones [N, F], but those that need all of either"""
        metrics = tuple(metric for metric in self.config.metrics if metric not in ("memorization", "fid_infinity"))
        part = replace(self, config=self.config.model_copy(update={"metrics": metrics}))
        return part.compare(summarise(real), summarise(gen), bootstrap=False)

    def details(self, reference: Reference, gen: Statistics) -> Details:
        """The nearest training images of each generated one, the distance within each class, and realism"""
        neighbors, per_class, scores, real = None, None, None, reference.real
        if real.thumbnails is not None and gen.thumbnails is not None:
            with suppress(MetricError):  # said by `compare`
                k = min(NUM_NEIGHBORS, len(real.thumbnails))
                neighbors = training_neighbors(real.thumbnails, gen.thumbnails, k)
        c = self.c[: self.config.num_images]
        if real.features is not None and gen.features is not None and is_one_hot(c):
            per_class = class_frechet_distances(real.features, reference.c, gen.features, c)
        if real.features is not None and gen.features is not None and "pr" in self.config.metrics:
            with suppress(MetricError):  # said by `compare`
                scores = realism(real.features, gen.features, self.config.pr_neighbors).cpu()
        return Details(neighbors, per_class, scores)


def untrained_like(G: Generator, seed: int) -> Generator:
    """The generator that training with this seed started from, leaving the global random state alone"""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(creation_seed(seed))
        fresh = Generator(
            G.config, img_resolution=G.img_resolution, img_channels=G.img_channels, c_dim=G.c_dim, level=G.level
        )
    return fresh.eval().requires_grad_(False).to(G.mapping.w_avg.device)
