"""Peaks of feature maps: the droplets that AdaIN makes, as numbers (Karras et al. 2020, Sec. 2, Fig. 1).

A generator that normalises each feature map by its own mean and deviation can hide the strength of a signal in one
spike, which then outweighs the whole map. So a map is judged by how many of its deviations its farthest pixel lies from
its mean; whatever scales or shifts a whole map, as AdaIN itself does, leaves that number alone.

N batch, C channels, H W feature map, L = num_ws, M maps.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from stylegan.networks import Generator
from stylegan.networks.layers import NoiseMode

Peaks = dict[int, Tensor]  # resolution in pixels -> peaks [M] of all its maps
QUANTILES = {"p1": 0.01, "p25": 0.25, "median": 0.5, "p75": 0.75, "p99": 0.99, "p99_9": 0.999}


@torch.no_grad()
def feature_peaks(G: Generator, ws: Tensor, *, batch_size: int, noise_mode: NoiseMode = "const") -> Peaks:
    """Peaks of the output of every 3x3 layer of the synthesis network, of the images of all styles together

    ws [N, L, w_dim]  ->  {resolution: [N * layers * C]}; a batch of images is kept at a time, and one number a map.
    """
    found: dict[int, list[Tensor]] = {}
    with _watched(G, found):
        for part in torch.split(ws, batch_size):
            G.synthesis(part, noise_mode)
    return {res: torch.cat(parts) for res, parts in found.items()}


def map_peaks(x: Tensor) -> Tensor:
    """max |x - mean| / std of every map  [N, C, H, W] -> [N, C]; 0 for a constant map

    Between 1 and sqrt(H W - 1): all pixels at two values, one pixel unlike all others.
    """
    x = x.float()
    x = x - x.mean(dim=(2, 3), keepdim=True)
    peak, std = x.abs().amax(dim=(2, 3)), x.square().mean(dim=(2, 3)).sqrt()
    return torch.where(std > 1e-6, peak / std.clamp(min=1e-6), 0.0)


def summary(peaks: Tensor) -> dict[str, float]:
    """Number of maps, quantiles of their peaks, and the highest  [M] -> by name"""
    levels = torch.tensor(list(QUANTILES.values()), device=peaks.device)
    found = dict(zip(QUANTILES, torch.quantile(peaks, levels).tolist(), strict=True))
    return {"num_maps": float(len(peaks)), **found, "max": float(peaks.max())}


def of_gaussian_noise(resolution: int) -> float:
    """About the peak of a map of independent Gaussian pixels, which holds no droplet: sqrt(2 log(H W))"""
    return math.sqrt(2 * math.log(resolution**2))


@contextmanager
def _watched(G: Generator, found: dict[int, list[Tensor]]) -> Iterator[None]:
    """While the block runs, add the peaks of every map that a 3x3 layer of G puts out."""

    def look(res: int, layer: nn.Module, inputs: tuple[Tensor, ...], x: Tensor) -> None:
        found.setdefault(res, []).append(map_peaks(x).flatten().cpu())

    hooks = []
    for res in G.synthesis.block_resolutions:
        block: nn.Module = getattr(G.synthesis, f"b{res}")
        layers = [child for name, child in block.named_children() if name in ("conv0", "conv1")]
        hooks += [layer.register_forward_hook(partial(look, res)) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
