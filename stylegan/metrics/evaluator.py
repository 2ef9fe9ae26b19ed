"""Images -> features -> statistics -> numbers: one function each, and the names of the numbers.

N images, F features.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stylegan.config import EvaluateConfig
from stylegan.files import replacing
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.extractors import Extractor
from stylegan.metrics.fid import Gaussian, fit, gaussian_distance
from stylegan.metrics.kid import kernel_distance
from stylegan.metrics.lpips import Lpips
from stylegan.metrics.names import metric_names, path_length_name
from stylegan.metrics.ppl import PROTOCOLS, path_lengths, perceptual_path_length
from stylegan.metrics.precision_recall import precision_recall
from stylegan.metrics.sampling import Latents, draw_latents, generated_batches
from stylegan.networks import Generator
from stylegan.state import creation_seed


@dataclass(frozen=True)
class Statistics:
    """All that distances between two sets of images are computed from."""

    features: Tensor  # float32 [N, F]
    gaussian: Gaussian


@dataclass(frozen=True)
class Evaluator:
    """Measures generators against one set of real images, always with the same labels, latents and noise."""

    config: EvaluateConfig
    extractor: Extractor
    lpips: Lpips
    real: Statistics
    c: Tensor  # [N, c_dim], of as many images as the larger of num_images and ppl_num_pairs
    whole_set: bool  # whether real holds every image of the archive

    def latents(self, G: Generator) -> Latents:
        """Latents of the measured images; psi does not enter, so a sweep shares them."""
        return draw_latents(G, self.c[: self.config.num_images], self.config.seed, self.config.batch_size)

    def measure(self, G: Generator, latents: Latents, psi: float) -> dict[str, float]:
        """Every number at truncation psi, by metric name"""
        config = self.config
        batches = generated_batches(G, latents, psi, config.truncation_cutoff, config.batch_size)
        gen = summarise(extract(batches, self.extractor))
        lengths = path_lengths(
            G,
            self.lpips,
            self.c[: config.ppl_num_pairs],
            PROTOCOLS["ppl2_wend"],
            epsilon=config.ppl_epsilon,
            seed=config.seed,
            batch_size=config.batch_size,
            psi=psi,
            cutoff=config.truncation_cutoff,
        )
        numbers = compare(self.real, gen, config, self.extractor.name, whole_set=self.whole_set)
        return numbers | {path_length_name(config, self.lpips.name): perceptual_path_length(lengths)}

    def floor(self) -> dict[str, float]:
        """What real images score against the other real images of their split, by metric name"""
        rest, sample = split_for_floor(self.real.features, self.config.num_images, self.config.seed)
        return compare(summarise(rest), summarise(sample), self.config, self.extractor.name, whole_set=self.whole_set)

    def to(self, device: torch.device | str) -> Self:
        """Move the networks."""
        return replace(self, extractor=self.extractor.to(device), lpips=self.lpips.to(device))


def untrained_like(G: Generator, seed: int) -> Generator:
    """The generator that training with this seed started from, leaving the global random state alone"""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(creation_seed(seed))
        fresh = Generator(G.config, img_resolution=G.img_resolution, img_channels=G.img_channels, c_dim=G.c_dim)
    return fresh.eval().requires_grad_(False).to(G.mapping.w_avg.device)


def extract(batches: Iterable[Tensor], extractor: Extractor) -> Tensor:
    """Features [N, F] of batches of uint8 images [n, C, H, W]"""
    return torch.cat([extractor(img).cpu() for img in batches])


def summarise(features: Tensor) -> Statistics:
    """Statistics of features [N, F]"""
    return Statistics(features, fit(features))


def compare(
    real: Statistics, gen: Statistics, config: EvaluateConfig, extractor_name: str, *, whole_set: bool = False
) -> dict[str, float]:
    """The numbers of one set of generated images against the real ones, by metric name

    whole_set: whether real holds every real image there is; published names ask for that.
    """
    names = metric_names(config, extractor_name, whole_set=whole_set)
    kid = kernel_distance(real.features, gen.features, config.kid_num_subsets, config.kid_subset_size, seed=config.seed)
    fid = gaussian_distance(real.gaussian, gen.gaussian)
    precision, recall = precision_recall(real.features, gen.features, config.pr_neighbors)
    return {names.kid: kid, names.fid: fid, names.precision: precision, names.recall: recall}


def split_for_floor(features: Tensor, num_images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two disjoint random parts of real features [N, F]: the rest, and as many as are generated (at most half).

    Their distance is the floor: what a perfect generator would score with this many images.
    Raises MetricError for fewer than four images.
    """
    if len(features) < 4:
        raise MetricError(
            f"the real-vs-real floor needs two halves of at least 2 images; the split has {len(features)}. "
            "Add images to the archive."
        )
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(features)))
    count = min(num_images, len(features) // 2)
    return features[order[count:]], features[order[:count]]


def cached_features(
    folder: Path, digest: str, split: str, extractor: Extractor, compute: Callable[[], Tensor]
) -> Tensor:
    """Features [N, F] from the file named after archive, split, extractor and resize filter; computed when absent"""
    network = f"{extractor.name}-{extractor.sha256[:12]}-{extractor.input_size}px-{extractor.resize_filter}"
    path = folder / f"{digest[:12]}-{split}-{network}.safetensors"
    if path.exists():
        return load_file(path)["features"]
    features = compute()
    with replacing(path) as temporary:
        save_file({"features": features.contiguous()}, temporary)
    return features
