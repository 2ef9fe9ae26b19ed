"""Truncation towards several centres: means of classes, and clusters of w.

N images, K centres, S samples, L = num_ws.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from stylegan.networks import Generator, truncate

MAX_ROUNDS = 300  # k-means ends when no sample changes its cluster, a few dozen rounds as a rule
BATCH_SIZE = 1000  # latents mapped at once


def mean_styles(G: Generator, c: Tensor, num: int, seed: int) -> Tensor:
    """Mean w of each label over the same `num` latents  c [K, c_dim] -> [K, w_dim]"""
    return torch.stack([_sample_w(G, label[None], num, seed).mean(dim=0) for label in c])


def class_centers(G: Generator, num: int, seed: int) -> Tensor:
    """Mean w of each class over `num` latents  ->  [c_dim, w_dim]

    Raises ValueError for an unconditional generator.
    """
    if G.c_dim == 0:
        raise ValueError("this generator is unconditional and has no classes. Truncate towards mean or clusters:K.")
    return mean_styles(G, torch.eye(G.c_dim), num, seed)


def cluster_centers(G: Generator, num: int, k: int, seed: int, c: Tensor | None = None) -> Tensor:
    """Centres of k clusters of `num` samples of w (after Mokady et al. 2022, Sec. 4)  ->  [k, w_dim]

    A conditional generator draws every class equally often, or the label c [1, c_dim] alone.
    Raises ValueError if there are more clusters than samples.
    """
    if not 1 <= k <= num:
        raise ValueError(f"{k} clusters of {num} samples cannot be. Ask for 1 to {num} clusters, or sample more.")
    if c is None:
        c = torch.eye(G.c_dim)[torch.arange(num) % G.c_dim] if G.c_dim else torch.zeros(1, 0)
    return k_means(_sample_w(G, c, num, seed), k, seed)


def truncate_towards(ws: Tensor, centers: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
    """Pull each image's styles towards the centre nearest to it in w.  ws [N, L, w_dim], centers [K, w_dim]

    Mokady et al. take the perceptually nearest centre; nearest in w needs no network beside G.
    """
    return truncate(ws, centers[_nearest(ws.mean(dim=1), centers)][:, None], psi, cutoff)


def k_means(x: Tensor, k: int, seed: int) -> Tensor:
    """Clusters from k-means++ seeds (Arthur and Vassilvitskii 2007)  [S, F] -> [k, F]; a seed gives the same ones"""
    return lloyd(x, x[_spread(x, k, seed)])


def lloyd(x: Tensor, centers: Tensor) -> Tensor:
    """Move each centre to the mean of its samples until none changes its centre  [S, F], [K, F] -> [K, F]

    A centre without samples goes to the sample farthest from its own.
    """
    labels = torch.full((len(x),), -1, device=x.device)
    for _ in range(MAX_ROUNDS):
        before, labels = labels, _nearest(x, centers)
        if torch.equal(labels, before):
            break
        # A product with the one-hot labels sums in a fixed order; index_add_ on a GPU does not.
        members = torch.nn.functional.one_hot(labels, len(centers)).to(x.dtype)
        sizes = members.sum(dim=0)
        empty = (sizes == 0).nonzero()[:, 0]
        farthest = (x - centers[labels]).square().sum(dim=1).argsort(descending=True)
        centers = (members.t() @ x) / sizes.clamp_min(1)[:, None]
        centers[empty] = x[farthest[: len(empty)]]
    return centers


def _spread(x: Tensor, k: int, seed: int) -> Sequence[int]:
    """Samples far from each other: each is drawn with a probability proportional to its squared distance so far"""
    rng = np.random.RandomState(seed)
    chosen = [int(rng.randint(len(x)))]
    distance = (x - x[chosen[0]]).double().square().sum(dim=1)
    while len(chosen) < k:
        reach = distance.cumsum(dim=0)
        drawn = int(torch.searchsorted(reach, reach[-1] * rng.uniform(), right=True))
        chosen.append(min(drawn, len(x) - 1))
        distance = torch.minimum(distance, (x - x[chosen[-1]]).double().square().sum(dim=1))
    return chosen


def _nearest(x: Tensor, centers: Tensor) -> Tensor:
    """[S, F], [K, F] -> [S]; without the matrix product, which rounds near distances away"""
    return torch.cdist(x, centers, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=1)


@torch.no_grad()
def _sample_w(G: Generator, c: Tensor, num: int, seed: int) -> Tensor:
    """c [1, c_dim] or [num, c_dim] -> [num, w_dim]"""
    device = G.mapping.w_avg.device
    z = torch.from_numpy(np.random.RandomState(seed).randn(num, G.z_dim)).float().to(device)
    labels = c.expand(num, -1).to(device)
    pairs = zip(z.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True)
    return torch.cat([G.mapping(part, label)[:, 0] for part, label in pairs])
