"""Inception score (Salimans et al. 2016): how sure a classifier is of each image, and how many classes it sees in all.

N images, K classes.
"""

import itertools

import torch
from torch import Tensor

from stylegan.metrics.arrays import Array, MetricError

NUM_SPLITS = 10  # the published protocol's (is50k)


def inception_score(scores: Array, num_splits: int = NUM_SPLITS) -> tuple[float, float]:
    """exp(E KL(p(y|x) || p(y))) of consecutive splits  ->  mean over splits, standard deviation (divided by S)

    (Salimans et al. 2016, Sec. 4.) scores [N, K]: class scores before the softmax; is50k takes those of the 2015
    Inception network without the bias of its last layer.
    Raises MetricError for scores that are not finite, and for fewer images than splits.
    """
    x = torch.as_tensor(scores)
    if x.ndim != 2 or not bool(x.isfinite().all()):
        raise MetricError(
            f"inception_score: scores are {list(x.shape)}, finite: {bool(x.isfinite().all())}; expected finite [N, K]. "
            "Give the classifier's outputs before the softmax."
        )
    if not 1 <= num_splits <= len(x):
        raise MetricError(
            f"inception_score: {len(x)} images in {num_splits} splits; at least 1 image in each is needed. "
            "Raise evaluate.num_images."
        )
    bounds = [i * len(x) // num_splits for i in range(num_splits + 1)]
    values = torch.stack([_score(x[start:stop]) for start, stop in itertools.pairwise(bounds)])
    return float(values.mean()), float(values.std(correction=0))


def _score(scores: Tensor) -> Tensor:
    """E KL(p(y|x) || p(y)) is the entropy of the mean less the mean entropy.

    Each image in the precision of its scores, every mean over images in fp64.
    """
    log_p = scores.log_softmax(dim=1)
    p = log_p.exp()
    mean = p.mean(dim=0, dtype=torch.float64)
    divergence: Tensor = torch.linalg.vecdot(p, log_p).mean(dtype=torch.float64) - torch.xlogy(mean, mean).sum()
    return divergence.exp()
