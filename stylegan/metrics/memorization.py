"""Memorisation: which training images generated ones copy, seen in thumbnails.

A classifier's features move further by a little noise than from one photograph to the next, and differ between an image
and its mirror image. In thumbnails noise averages out, a shift by a few hundredths of the width hardly shows, and a
mirror image is a mirrored thumbnail. So copies are looked for there, among training images and their mirror images.
N training, M generated images, C channels, S = SIDE, k neighbours.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.metrics.arrays import MetricError, as_double
from stylegan.metrics.neighbors import nearest

SIDE = 8  # pixels of a thumbnail
NEIGHBORS = 3  # of a training image tell how alone it is; its nearest one alone may be a near duplicate
# Of that distance, below which an image is a copy. Of 32-pixel satellite images, 2% of the real ones are as near to
# another one; of copies all that are mirrored, shifted by a pixel or have noise of sigma 8.
COPY = 0.6


@dataclass(frozen=True)
class TrainingNeighbors:
    """The nearest training images of each image, nearest first, and how alone the nearest is among its own."""

    index: Tensor  # int64 [M, k], rows of the training images
    distance: Tensor  # fp64 [M, k], root mean square over a thumbnail in levels of 0 to 255
    spacing: Tensor  # fp64 [M], from the nearest training image to its NEIGHBORS-th nearest other one

    @property
    def is_copy(self) -> Tensor:
        """bool [M]: much nearer to a training image than the others of these are"""
        return self.distance[:, 0] <= COPY * self.spacing

    @property
    def memorized(self) -> float:
        """Share of copies; compare with what the training images themselves score (among_others)"""
        return float(self.is_copy.double().mean())

    def most_suspicious(self, count: int) -> list[int]:
        """Rows of the images that are nearest to a training image for how alone it is, nearest first"""
        nearness = (self.distance[:, 0] / self.spacing.clamp(min=1e-12)).argsort(stable=True)
        return [int(row) for row in nearness[:count]]


def thumbnails(img: Tensor) -> Tensor:
    """uint8 [N, C, H, W] -> float32 [N, C, S, S] without the mean of each channel, so that brightness does not count"""
    small = F.adaptive_avg_pool2d(img.float(), SIDE)
    return small - small.mean(dim=(2, 3), keepdim=True)


def training_neighbors(train: Tensor, gen: Tensor, k: int) -> TrainingNeighbors:
    """The k training images nearest to each generated one, from thumbnails [N, C, S, S] and [M, C, S, S]

    Raises MetricError for fewer than three training images, and for k not between 1 and N.
    """
    if not 1 <= k <= len(train):
        raise MetricError(f"training_neighbors: k is {k}; expected 1 to {len(train)}, the number of training images.")
    _, own_distance = _others(train)
    index, distance = _nearest_images(gen, train, k)
    spacing = own_distance[index[:, 0], _num_neighbors(train) - 1]
    return TrainingNeighbors(*(values.cpu() for values in (index, distance, spacing)))


def among_others(train: Tensor) -> TrainingNeighbors:
    """What each training image [N, C, S, S] would be found to be, had it been generated and not trained with

    The yardstick: it is of the same distribution as the training images, as held-out ones of other places are not.
    Raises MetricError for fewer than three training images.
    """
    index, distance = _others(train)
    k, rows = _num_neighbors(train), torch.arange(len(train), device=train.device)
    closest = index[:, 0]
    # Without the image itself, another one becomes the k-th nearest to its neighbour.
    was_among = (index[closest, :k] == rows[:, None]).any(dim=1)
    spacing = torch.where(was_among, distance[closest, k], distance[closest, k - 1])
    return TrainingNeighbors(*(values.cpu() for values in (index[:, :1], distance[:, :1], spacing)))


def _num_neighbors(train: Tensor) -> int:
    return min(NEIGHBORS, len(train) - 2)


def _others(train: Tensor) -> tuple[Tensor, Tensor]:
    """The k + 1 nearest other training images of each one  ->  indices [N, k + 1], distances [N, k + 1]"""
    if len(train) < 3:
        raise MetricError(
            f"memorization: {len(train)} training image(s); at least 3 are needed. Add images to the archive, or take "
            "memorization out of evaluate.metrics."
        )
    k = _num_neighbors(train) + 1
    index, distance = _nearest_images(train, train, k + 1, own=torch.arange(len(train), device=train.device))
    return index[:, :k], distance[:, :k]


def _nearest_images(queries: Tensor, train: Tensor, k: int, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k images of train [N, C, S, S] nearest to queries [M, C, S, S], as they are or mirrored, whichever is nearer

    own: indices [M] of the queries in train, which are at an infinite distance from themselves.
    Returns indices [M, k] and distances [M, k].
    """
    both = torch.cat([train, train.flip(3)])
    x, y = (as_double(images.flatten(1)) for images in (both, queries))
    centre = x.mean(dim=0)  # distances do not change, their rounding gets smaller
    index, distance = nearest(y - centre, x - centre, min(2 * k, len(x)))
    index, distance = index % len(train), distance / x.shape[1] ** 0.5
    # An image and its mirror image may both be near; the nearer one counts.
    is_repeated = (index[:, :, None] == index[:, None, :]).tril(-1).any(dim=2)
    if own is not None:
        is_repeated |= index == own[:, None]
    order = distance.masked_fill(is_repeated, torch.inf).sort(dim=1, stable=True)
    return index.gather(1, order.indices)[:, :k], order.values[:, :k]
