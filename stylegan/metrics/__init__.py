"""Metrics: features -> statistics -> number. A metric's name is its protocol."""

from stylegan.metrics.fid import frechet_distance
from stylegan.metrics.kid import kernel_distance
from stylegan.metrics.precision_recall import precision_recall

__all__ = ["frechet_distance", "kernel_distance", "precision_recall"]
