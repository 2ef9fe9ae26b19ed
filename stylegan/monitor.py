"""How good a generator is while it trains: a cheap KID, precision and recall, always of the same latents and images.

Its latents, noise, labels and choice of real images are not those of the evaluation, whatever the seeds: the snapshot
that is the best by luck on these images has no luck on those. The work is shared over the ranks and the numbers are
made on rank 0. Nothing of the training changes: neither the
generator nor the global random state, nor whether it multiplies in TF32, which measuring never does.
N generated, M <= N real images, F features.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylegan import images
from stylegan.backends import exact_float32
from stylegan.config import Config
from stylegan.config.sections import MonitorConfig
from stylegan.data import ImageDataset
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.evaluation.names import KID, KID_SE, PRECISION, RECALL, SPREAD
from stylegan.metrics.evaluation.ranks import gather_rows, own_batches
from stylegan.metrics.evaluation.sampling import draw_labels, draw_latents, synthesized
from stylegan.metrics.extractors import Extractor
from stylegan.metrics.kid import kernel_distance
from stylegan.metrics.left_out import kernel_distance_left_out
from stylegan.metrics.precision_recall import precision_recall
from stylegan.networks import Generator

TINY = 1e-12  # keeps a set of equal images from dividing by zero
# Seeds of settings are far below: neither this one's latents nor its labels are those of any evaluate.seed.
FIRST_SEED = 2**32


@dataclass(frozen=True)
class Monitor:
    """Measures the generators of one run against a fixed random part of its training images."""

    config: MonitorConfig
    seed: int
    batch_size: int
    extractor: Extractor
    c: Tensor  # [N, c_dim]
    real: Tensor | None  # float32 [M, F] on rank 0

    @classmethod
    @exact_float32()
    def create(cls, config: Config, dataset: ImageDataset, extractor: Extractor) -> Self:
        """Extract the features of the real images, unmirrored, each rank its share.

        Raises MetricError if there are too few of them.
        """
        monitor, seed, batch_size = config.monitor, monitor_seed(config.train.seed), config.train.batch_gpu
        rows = choose_reals(dataset, monitor, seed)
        shares = own_batches(len(rows), batch_size)
        real = features((dataset.batch(rows[share.start : share.stop])[0] for share in shares), extractor)
        return cls(monitor, seed, batch_size, extractor, draw_labels(dataset, monitor.num_images, seed), real)

    @exact_float32()
    def measure(self, G: Generator) -> dict[str, float]:
        """The numbers of G, untruncated, by the name of their column, on rank 0; nothing on the others.

        KID is the unbiased squared MMD of both whole sets, with its standard error from three images of each on.
        Precision and recall, which depend on the numbers of images, are of the first M generated images.
        """
        latents = draw_latents(G, self.c, self.seed, self.batch_size)
        shares = own_batches(len(latents), self.batch_size)
        gen = features(map(images.to_uint8, synthesized(G, latents, shares, 1.0, None)), self.extractor)
        if gen is None or self.real is None:
            return {}
        precision, recall = precision_recall(self.real, gen[: len(self.real)], self.config.pr_neighbors)
        share = spread(gen) / max(spread(self.real), TINY)
        return {**kid_and_error(self.real, gen), PRECISION: precision, RECALL: recall, SPREAD: share}


def kid_and_error(real: Tensor, gen: Tensor) -> dict[str, float]:
    """KID of features [M, F] and [N, F], and its standard error if there are three of each"""
    if min(len(real), len(gen)) < 3:
        return {KID: kernel_distance(real, gen, num_subsets=1, subset_size=len(gen))}
    found = kernel_distance_left_out(real, gen)
    return {KID: found.value, KID_SE: found.standard_error}


def monitor_seed(seed: int) -> int:
    """Seed of what a run's snapshots are measured with, from train.seed"""
    return FIRST_SEED + seed


def features(batches: Iterable[Tensor], extractor: Extractor) -> Tensor | None:
    """Of every rank's batches of images, uint8 [n, C, H, W]  ->  float32 [N, F] on rank 0, None elsewhere"""
    with torch.random.fork_rng(devices=[]):  # an extractor of the user's own may draw numbers
        pieces = [extractor(img) for img in batches]
    return gather_rows(pieces, dst=0)


def choose_reals(dataset: ImageDataset, config: MonitorConfig, seed: int) -> NDArray[np.int64]:
    """Indices of at most config.num_images random images, without repetitions and mirrored ones

    Raises MetricError if they are too few to have neighbours.
    """
    count = len(dataset) // (2 if dataset.xflip else 1)
    if count <= config.pr_neighbors:
        raise MetricError(
            f"{dataset.path}: monitor.pr_neighbors is {config.pr_neighbors}, but each of its {count} training images "
            "has fewer others. Lower monitor.pr_neighbors, or set monitor.num_images to 0 and monitor.export to last."
        )
    return np.random.default_rng(seed).permutation(count)[: config.num_images]


def spread(features: Tensor) -> float:
    """Mean squared distance of features [N, F] from their mean; 0 when all images look alike"""
    return float(features.double().var(dim=0, correction=0).sum())
