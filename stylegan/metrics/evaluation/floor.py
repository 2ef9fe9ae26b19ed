"""The real-image baseline: random splits of the real images into a part that plays the generator, and the rest."""

import numpy as np
import torch
from torch import Tensor


def splits_for_floor(num_real: int, num_images: int, num_splits: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Rows of random splits of the real images: the rest, and as many as are generated (at most half)

    Their distance is the floor: what a perfect generator scores with these numbers of images. Below four there is none.
    """
    if num_real < 4:
        return []
    numbers, count = np.random.default_rng(seed), num_floor_images(num_real, num_images)
    orders = (torch.from_numpy(numbers.permutation(num_real)) for _ in range(num_splits))
    return [(order[count:], order[:count]) for order in orders]


def num_floor_images(num_real: int, num_images: int) -> int:
    """Real images that play the generator in the floor"""
    return min(num_images, num_real // 2)
