"""Features as every metric takes them: torch or numpy, [N, F], checked once; and the error of all metrics.

N samples, F features.
"""

import numpy as np
import torch
from torch import Tensor

from stylegan.text import OneLineError

Array = Tensor | np.ndarray


class MetricError(OneLineError):
    """A number cannot be computed from what was given; the message says why and what to do."""


def as_double(array: Array) -> Tensor:
    """Array -> fp64 tensor on its device"""
    return torch.as_tensor(array).to(torch.float64)


def check_pair(metric: str, real: Array, gen: Array, min_samples: int) -> tuple[Tensor, Tensor]:
    """Features real [N, F] and gen [M, F] as fp64.

    Raises MetricError if they are not two sets of equally many finite features, or a set has too few samples.
    """
    x, y = as_double(real), as_double(gen)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise MetricError(
            f"{metric}: real features are {list(x.shape)} and generated {list(y.shape)}; expected [N, F] and [M, F]. "
            "Both sides must come from the same extractor."
        )
    if min(len(x), len(y)) < min_samples:
        raise MetricError(
            f"{metric}: {len(x)} real and {len(y)} generated samples; at least {min_samples} of each are needed. "
            "Raise evaluate.num_images, or add images to the archive."
        )
    if not (bool(x.isfinite().all()) and bool(y.isfinite().all())):
        raise MetricError(
            f"{metric}: features hold NaN or infinity; the images or the extractor's weights do. "
            "Check the generator with `python -m stylegan generate`."
        )
    return x, y
