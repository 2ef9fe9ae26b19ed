"""Directions in w along which images change most, found without labels and without training.

N samples, K directions, L = num_ws, O outputs of the affine layers that make styles of w.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stylegan.networks import Generator


@dataclass(frozen=True)
class Directions:
    """Orthonormal directions in w, the strongest first; the largest coordinate of each is positive."""

    axes: Tensor  # [K, w_dim]
    shares: Tensor  # [K], of 1 over all w_dim: the variance of w, or the squared change of styles, along each


def principal_components(w: Tensor, num: int) -> Directions:
    """Principal components V of samples w [N, w_dim] (Haerkoenen et al. 2020, "GANSpace"): edits are w' = w + V x."""
    centred = w - w.mean(dim=0)
    return _strongest(centred, num)


def factorize_affine(G: Generator, num: int, layers: Sequence[int] | None = None) -> Directions:
    """Unit steps n in w that change styles most: the first eigenvectors of A^T A (Shen and Zhou 2021, Eq. 5 to 7).

    A [O, w_dim] stacks the weights of every affine layer that reads the w of `layers`, by default of all that are used.
    Raises ValueError if no layer does.
    """
    return _strongest(affine_weights(G, range(G.num_ws) if layers is None else layers), num)


@torch.no_grad()
def affine_weights(G: Generator, layers: Sequence[int]) -> Tensor:
    """Weights [O, w_dim] of the affine layers that read the w of `layers`. Raises ValueError if there are none."""
    found, first = [], 0
    for res in G.synthesis.block_resolutions:
        block = getattr(G.synthesis, f"b{res}")
        # As in the synthesis network, torgb reads the w of the next block's first layer.
        for layer, affine in enumerate(block.affines, start=first):
            if layer in layers and layer < G.synthesis.num_ws_used:
                found.append(affine.weight * affine.weight_gain)
        first += block.num_conv
    if not found:
        raise ValueError(f"no style is made from layers {list(layers)}; choose from 0 to {G.synthesis.num_ws_used - 1}")
    return torch.cat(found)


def spreads(w: Tensor, axes: Tensor) -> Tensor:
    """Standard deviation of w [N, w_dim] along each axis [K, w_dim]  ->  [K], the unit of the steps of `move`"""
    return ((w - w.mean(dim=0)) @ axes.t()).square().mean(dim=0).sqrt()


def move(ws: Tensor, axes: Tensor, steps: Tensor, layers: Sequence[int]) -> Tensor:
    """w + V x in `layers` alone, E(V, j-k) of Haerkoenen et al.  ws [N, L, w_dim], axes [K, w_dim], steps [K] -> ws"""
    moved = ws.clone()
    moved[:, list(layers)] += steps @ axes
    return moved


def vary(ws: Tensor, others: Tensor, center: Tensor, distance: float) -> Tensor:
    """Styles that differ from ws [1, L, w_dim] by a share `distance` of others [N, L, w_dim]: 0 gives ws, 1 the others

    Deviations from center [w_dim] are mixed with weights whose squares sum to one. If both sides are draws of w, so is
    the spread of the result; a mean of the two would be less varied at every click.
    """
    varied: Tensor = center + math.sqrt(1 - distance**2) * (ws - center) + distance * (others - center)
    return varied


def _strongest(rows: Tensor, num: int) -> Directions:
    """The first eigenvectors of M^T M and their shares of its trace  M [N, w_dim] -> [num, w_dim], [num]"""
    M = rows.cpu().double()  # not every device has float64
    values, vectors = torch.linalg.eigh(M.t() @ M)
    axes, values = vectors.t().flip(0)[:num], values.flip(0).clamp_min(0)
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    shares = values[:num] / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return Directions((axes * largest.sign()).to(rows), shares.to(rows))
