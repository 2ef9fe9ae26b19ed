"""Sizes of networks, known without allocating them."""

import torch

from stylegan.config import Config
from stylegan.config.pyramid import Resolution
from stylegan.networks.discriminator import Discriminator
from stylegan.networks.generator import Generator
from stylegan.networks.growing import largest_level


def parameter_counts(config: Config, *, resolution: Resolution, channels: int, c_dim: int) -> tuple[int, int]:
    """Parameters of G and D for such images and labels, at the level that they grow to in the run"""
    level = largest_level(config.train, resolution)
    with torch.device("meta"):
        G = Generator(config.generator, img_resolution=resolution, img_channels=channels, c_dim=c_dim, level=level)
        D = Discriminator(
            config.discriminator, img_resolution=resolution, img_channels=channels, c_dim=c_dim, level=level
        )
    return sum(p.numel() for p in G.parameters()), sum(p.numel() for p in D.parameters())
