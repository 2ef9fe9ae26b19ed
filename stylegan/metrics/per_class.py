"""Frechet distance within each class of a labelled set: whether a generator is bad at some classes only.

N real, M generated samples, F features.
"""

from dataclasses import dataclass

from torch import Tensor

from stylegan.metrics.arrays import Array, MetricError, check_pair
from stylegan.metrics.fid import features_frechet_distance

MIN_SAMPLES = 2  # a class with fewer real or generated images has no spread to compare


@dataclass(frozen=True)
class ClassDistance:
    """Of one class; the distance is biased upward by small numbers, so compare classes of similar numbers only."""

    label: int
    num_real: int
    num_gen: int
    distance: float | None  # None if there are fewer than MIN_SAMPLES images on a side


def class_frechet_distances(real: Array, real_c: Tensor, gen: Array, gen_c: Tensor) -> list[ClassDistance]:
    """Distance of real [N, F] and gen [M, F] within each class, in the order of classes

    real_c [N, c_dim], gen_c [M, c_dim]: one-hot labels.
    Raises MetricError for features or labels that do not fit together, and for labels that are not one-hot.
    """
    x, y = check_pair("class_frechet_distances", real, gen, min_samples=1)
    if real_c.shape[1:] != gen_c.shape[1:] or (len(real_c), len(gen_c)) != (len(x), len(y)):
        raise MetricError(
            f"class_frechet_distances: labels are {list(real_c.shape)} and {list(gen_c.shape)} for {len(x)} real and "
            f"{len(y)} generated features; expected [N, c_dim] and [M, c_dim], one row for each image."
        )
    if not (is_one_hot(real_c) and is_one_hot(gen_c)):
        raise MetricError(
            f"class_frechet_distances: labels {list(real_c.shape)} are not one-hot, so they do not name classes. "
            "Per-class distances need a dataset with class labels and data.use_labels: true."
        )
    real_labels, gen_labels = real_c.argmax(dim=1).to(x.device), gen_c.argmax(dim=1).to(y.device)
    found = []
    for label in range(real_c.shape[1]):
        a, b = x[real_labels == label], y[gen_labels == label]
        enough = min(len(a), len(b)) >= MIN_SAMPLES
        found.append(ClassDistance(label, len(a), len(b), features_frechet_distance(a, b) if enough else None))
    return found


def is_one_hot(c: Tensor) -> bool:
    """Whether labels [N, c_dim] name one class each"""
    return c.shape[1] > 0 and bool(((c == 1).sum(dim=1) == 1).all() & ((c == 0) | (c == 1)).all())
