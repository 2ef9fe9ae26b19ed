"""Metrics: features -> statistics -> number. A metric's name is its protocol."""

from stylegan.metrics.fid import features_frechet_distance, frechet_distance
from stylegan.metrics.fid_infinity import frechet_infinity
from stylegan.metrics.inception_score import inception_score
from stylegan.metrics.kid import kernel_distance
from stylegan.metrics.memorization import training_neighbors
from stylegan.metrics.per_class import class_frechet_distances
from stylegan.metrics.precision_recall import membership, precision_recall

__all__ = [
    "class_frechet_distances",
    "features_frechet_distance",
    "frechet_distance",
    "frechet_infinity",
    "inception_score",
    "kernel_distance",
    "membership",
    "precision_recall",
    "training_neighbors",
]
