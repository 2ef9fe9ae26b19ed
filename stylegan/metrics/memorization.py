"""Memorisation: which training images generated ones are nearest to, and whether suspiciously near.

N training, M generated samples, F features, k neighbours.
"""

from dataclasses import dataclass

from torch import Tensor

from stylegan.metrics.arrays import Array, MetricError, check_pair
from stylegan.metrics.neighbors import nearest


@dataclass(frozen=True)
class TrainingNeighbors:
    """The nearest training images of each generated one, nearest first, and how alone these are among their own."""

    index: Tensor  # int64 [M, k], rows of the training features
    distance: Tensor  # fp64 [M, k]
    spacing: Tensor  # fp64 [M], from the nearest training image to its own nearest other training image

    @property
    def is_copy(self) -> Tensor:
        """bool [M]: nearer to a training image than any other training image is, or equal to one"""
        nearest_distance = self.distance[:, 0]
        return (nearest_distance < self.spacing) | (nearest_distance == 0)

    @property
    def memorized(self) -> float:
        """Share of copies: 1 - authenticity (Alaa et al. 2022, Sec. 4)

        Not 0 for a generator that memorises nothing: of fresh samples of one distribution 1/2 (many dimensions) to 2/3
        (one) are each other's nearest neighbours. So compare with what held-out real images score.
        """
        return float(self.is_copy.double().mean())

    def most_suspicious(self, count: int) -> list[int]:
        """Rows of the generated images that are nearest to a training image for how alone it is, nearest first"""
        nearness = (self.distance[:, 0] / self.spacing.clamp(min=1e-12)).argsort(stable=True)
        return [int(row) for row in nearness[:count]]


def training_neighbors(train: Array, gen: Array, k: int) -> TrainingNeighbors:
    """The k training samples [N, F] nearest to each generated one [M, F], in tiles as all distances

    Raises MetricError for features that do not fit together, for fewer than two training samples, and for k not
    between 1 and N.
    """
    x, y = check_pair("training_neighbors", train, gen, min_samples=2)
    if not 1 <= k <= len(x):
        raise MetricError(f"training_neighbors: k is {k}; expected 1 to {len(x)}, the number of training images.")
    centre = x.mean(dim=0)  # distances do not change, their rounding gets smaller
    x, y = x - centre, y - centre
    index, distance = nearest(y, x, k)
    spacing = nearest(x, x, 1, others=True)[1][:, 0]
    found = (index, distance, spacing[index[:, 0]])
    return TrainingNeighbors(*(values.cpu() for values in found))
