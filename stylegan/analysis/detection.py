"""Telling generated images from real ones by projection (Karras et al. 2020, Sec. 5).

A generator can draw its own images again, but hardly others; so after projection they are nearer to their target.
N images, M other images, C channels, H W image.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from stylegan.analysis.projection import Step
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.evaluation.sampling import draw_latents, generated_batches
from stylegan.networks import Generator

# With 20 images of each kind an AUC of 1 has an interval of 0.90 to 1.00; with fewer even a perfect one says little.
FEWEST = 20
Z = 1.959964  # of a 95% interval


@dataclass(frozen=True)
class Separation:
    """How well one number tells generated from real images."""

    auc: float  # probability that a real image is farther from its projection than a generated one
    interval: tuple[float, float]  # 95% confidence interval of auc
    num: int  # images of the kind that has fewer
    threshold: float  # nearer than this is called generated
    accuracy: float  # mean of the shares of real and of generated images that this gets right


def generated_pictures(G: Generator, c: Tensor, *, seed: int, psi: float, batch_size: int) -> Tensor:
    """One image for each label in c [N, c_dim], with noise of its own  ->  uint8 [N, C, H, W] on the CPU"""
    latents = draw_latents(G, c, seed, batch_size)
    return torch.cat([img.cpu() for img in generated_batches(G, latents, psi, None, batch_size)])


def final_distances(steps: Iterable[tuple[range, Step]], num_steps: int) -> Tensor:
    """LPIPS that projections end with, from the steps of `project_batches`  ->  [N] on the CPU"""
    return torch.cat([step.distance.cpu() for _, step in steps if step.index == num_steps])


def separate(real: Tensor, generated: Tensor) -> Separation:
    """Threshold that tells distances real [N] from generated [M] best.

    It is chosen on the images that it is judged by, so accuracy is a little optimistic for few of them.
    Raises MetricError if a side is empty.
    """
    if not len(real) or not len(generated):
        raise MetricError(f"detection needs real and generated images, got {len(real)} and {len(generated)}.")
    x, y = real.double(), generated.double()
    above = x[:, None] - y[None]
    values = torch.cat([x, y]).unique()
    # Between neighbours, so that distances equal to the threshold do not arise; and beyond both ends.
    cuts = torch.cat([values[:1] - 1, (values[1:] + values[:-1]) / 2, values[-1:] + 1])
    right = ((x[:, None] >= cuts).double().mean(dim=0) + (y[:, None] < cuts).double().mean(dim=0)) / 2
    best = int(right.argmax())
    auc = float((above > 0).double().mean() + (above == 0).double().mean() / 2)
    interval = auc_interval(auc, len(real), len(generated))
    return Separation(auc, interval, min(len(real), len(generated)), float(cuts[best]), float(right[best]))


def auc_interval(auc: float, num_real: int, num_generated: int) -> tuple[float, float]:
    """Every value a whose distance to auc is within Z standard errors of Hanley and McNeil (1982, Eq. 1) at a.

    Their error at the value measured vanishes for an AUC of 1, however few images gave it; at the value in question
    it does not (the score method).
    """
    a = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    spread = a * (1 - a) + (num_real - 1) * (q1 - a * a) + (num_generated - 1) * (q2 - a * a)
    # A step of the grid as slack, so that the value measured lies in its interval.
    near = a[(a - auc).abs() <= Z * (spread.clamp(min=0) / (num_real * num_generated)).sqrt() + 1e-4]
    return float(near[0]), float(near[-1])


def verdict(result: Separation) -> str:
    """What the numbers mean, in a sentence: with few images, or an interval that holds chance, nothing"""
    low, high = result.interval
    if result.num < FEWEST:
        meaning = f"{result.num} images of each kind are too few to say anything; give --num {FEWEST} or more"
    elif low <= 0.5 <= high:
        meaning = "with these images, projection does not tell generated from real ones better than chance"
    elif result.auc >= 0.9:
        meaning = "projection tells generated images from real ones"
    elif result.auc >= 0.7:
        meaning = "projection often tells generated images from real ones"
    elif result.auc > 0.5:
        meaning = "projection hardly tells generated images from real ones"
    else:
        meaning = "real images are reproduced better than generated ones, so the search fell short: try more steps"
    return (
        f"AUC {result.auc:.2f} (95% interval {low:.2f} to {high:.2f}), "
        f"{result.accuracy:.0%} right at the distance {result.threshold:.4g}: {meaning}. AUC is how often a real "
        "image ends farther from its projection than a generated one (0.5 by chance)."
    )
