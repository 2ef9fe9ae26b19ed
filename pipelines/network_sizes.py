"""Sizes of networks, known without allocating them."""

import torch

from pipelines.params import Params
from stylegan.networks import Discriminator, Generator
from stylegan.networks.growing import largest_level
from stylegan.pyramid import Resolution


def parameter_counts(params: Params, *, resolution: Resolution, channels: int, c_dim: int) -> tuple[int, int]:
    """Parameters of G and D for such images and labels, at the level that they grow to in the run"""
    level = largest_level(params.train, resolution)
    with torch.device("meta"):
        G = Generator(params.generator, img_resolution=resolution, img_channels=channels, c_dim=c_dim, level=level)
        D = Discriminator(
            params.discriminator, img_resolution=resolution, img_channels=channels, c_dim=c_dim, level=level
        )
    return sum(p.numel() for p in G.parameters()), sum(p.numel() for p in D.parameters())
