"""FID-infinity (Chong and Forsyth 2020): the Frechet distance that infinitely many generated images would have.

N, M samples, F features, S points of the line.
"""

from dataclasses import dataclass

import numpy as np
import torch

from stylegan.metrics.arrays import Array, MetricError, check_pair
from stylegan.metrics.fid import fit, gaussian_distance

# Times F generated images: with fewer the line is none (at 1.35 F a true 2.52 came out as -0.32), and up to ENOUGH the
# intercept is a rough one. Published are 50,000 images of F = 2048, 24 times.
FEWEST, ENOUGH = 10, 20


@dataclass(frozen=True)
class Extrapolation:
    """A line through distances against 1 / N, and where it meets 1 / N = 0."""

    value: float  # intercept; negative values are possible where the distance is within the noise of its points
    slope: float  # how fast the bias falls: FID_N = value + slope / N
    r2: float  # share of the points' variance that the line explains; 1 where they do not vary
    counts: tuple[int, ...]  # N of each point
    distances: tuple[float, ...]


def frechet_infinity(real: Array, gen: Array, num_points: int, min_samples: int, seed: int) -> Extrapolation:
    """Extrapolate the distance of real [N, F] and gen [M, F] linearly in 1 / M (Chong and Forsyth 2020, Sec. 4.1)

    The published protocol has 15 points, evenly spaced from 5,000 to 50,000 generated images, each a random subset.
    Removes the bias of gen alone: real is used whole at every point. The bias is linear in 1 / M only where M is well
    above F, so choose min_samples there; r2 tells.
    Raises MetricError for features that do not fit together, fewer than two points, or too few samples for them.
    """
    x, y = check_pair("frechet_infinity", real, gen, min_samples=2)
    if num_points < 2 or not 2 <= min_samples <= len(y) - num_points + 1:
        raise MetricError(
            f"frechet_infinity: {num_points} points from {min_samples} to {len(y)} generated samples; at least 2 "
            "points with numbers of their own, from 2 samples on, are needed. Generate more images."
        )
    counts = np.linspace(min_samples, len(y), num_points).round().astype(int)
    target, rng = fit(x), np.random.default_rng(seed)
    subsets = (torch.from_numpy(rng.choice(len(y), count, replace=False)).to(y.device) for count in counts)
    distances = np.array([gaussian_distance(target, fit(y[rows])) for rows in subsets])
    slope, value = np.polyfit(1 / counts, distances, 1)
    rest, total = (np.square(distances - c).sum() for c in (value + slope / counts, distances.mean()))
    r2 = 1 - rest / total if total > 0 else 1.0
    return Extrapolation(float(value), float(slope), float(r2), tuple(counts.tolist()), tuple(distances.tolist()))


def refuse_few(num_gen: int, num_features: int) -> None:
    """Raise MetricError for fewer generated images than a line needs."""
    if num_gen < FEWEST * num_features:
        raise MetricError(
            f"fid_infinity: {num_gen} generated images, but a line needs {FEWEST} for each of the {num_features} "
            f"features, {FEWEST * num_features}. Raise evaluate.num_images, or take fid_infinity out of "
            "evaluate.metrics."
        )


def infinity_note(line: Extrapolation, num_features: int) -> str:
    """What to say beside the value of a line"""
    count = line.counts[-1]
    found = f"FID-infinity is a line through {len(line.counts)} numbers of images up to {count}, r2 {line.r2:.3f}."
    if count >= ENOUGH * num_features:
        return found
    return f"{found} It is rough: {count} generated images are fewer than {ENOUGH} for each of {num_features} features."
