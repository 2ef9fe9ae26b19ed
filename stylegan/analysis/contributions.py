"""Layer contributions: how much each resolution adds to the generated images (Karras et al. 2020, Sec. 4.2, Fig. 8),
and, in the same measure, how much the frequency bands of any images hold.

N batch, K resolutions from the lowest, C channels, H W image, L = num_ws.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from stylegan.networks import Generator
from stylegan.networks.layers import RESAMPLE_TAPS, NoiseMode
from stylegan.ops import downsample2d, setup_filter, upsample2d

Shares = dict[int, float]  # resolution in pixels -> per cent; they sum to 100


@torch.no_grad()
def layer_contributions(G: Generator, ws: Tensor, *, batch_size: int, noise_mode: NoiseMode = "const") -> Shares:
    """Standard deviation over pixels and styles of what each resolution adds to the image, as a share of their sum.

    ws [N, L, w_dim]; the paper takes 1024 of them. Every tRGB output is measured where it counts: at full resolution,
    after the upsampling between it and the image. Raises ValueError for a generator whose image is no such sum.
    """
    batches = (rgb_layers(G, part, noise_mode) for part in torch.split(ws, batch_size))
    return _shares(batches, G.synthesis.block_resolutions)


@torch.no_grad()
def band_energies(batches: Iterable[Tensor], resolutions: Sequence[int]) -> Shares:
    """Standard deviation of each band of a Laplacian pyramid, as a share of their sum.

    batches of img [N, C, H, W] in [-1, 1]; the resolutions of the generator to compare with, from 4 to H. The bands
    are those that a skip generator would add if it built these images with its own up- and downsampling filter, fading
    to 0 beyond the border as it does: the repair of borders counts as detail, for both alike.
    """
    return _shares((pyramid(img, len(resolutions)) for img in batches), resolutions)


def rgb_layers(G: Generator, ws: Tensor, noise_mode: NoiseMode) -> list[Tensor]:
    """What each resolution adds to the image, before upsampling  ->  K tensors [N, C, h, w] from the lowest

    Raises ValueError for a generator of another architecture than skip.
    """
    if G.config.architecture != "skip":
        raise ValueError(
            f"layer contributions are not defined for generator.architecture {G.config.architecture}: it turns "
            "features into colours once, at the highest resolution, so its image is not a sum over resolutions. "
            "Contributions need skip; the band energies of its images can be compared with real ones in any case."
        )
    return G.synthesis.layers(ws, noise_mode)


def pyramid(img: Tensor, levels: int) -> list[Tensor]:
    """Laplacian pyramid (Burt and Adelson 1983) with the networks' low-pass filter, from the lowest band.

    img [N, C, H, W] -> K = levels tensors [N, C, h, w], the first of H / 2^(K - 1); upsampled, they sum to the image
    """
    f = resample_filter(img)
    bands: list[Tensor] = []
    for _ in range(levels - 1):
        low = downsample2d(img, f)
        bands.append(img - upsample2d(low, f))
        img = low
    return [img, *reversed(bands)]


def to_full_resolution(layers: Sequence[Tensor]) -> Iterable[Tensor]:
    """Each of K layers from the lowest, upsampled as a skip generator does  ->  K times [N, C, H, W], one at a time"""
    for level, layer in enumerate(layers):
        f = resample_filter(layer)
        for _ in range(len(layers) - 1 - level):
            layer = upsample2d(layer, f)
        yield layer


def resample_filter(img: Tensor) -> Tensor:
    """One-dimensional factor of the networks' low-pass filter, where the image is  ->  [4]"""
    return setup_filter(RESAMPLE_TAPS).sum(dim=0).to(img)


def _shares(batches: Iterable[Sequence[Tensor]], resolutions: Sequence[int]) -> Shares:
    """Standard deviations of layers over all batches and pixels, in per cent.

    Deviations are from each channel's mean, so that a constant colour counts nothing; channels count alike.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for layers in batches:
        moments = [torch.var_mean(full, dim=(0, 2, 3), correction=0) for full in to_full_resolution(layers)]
        var, mean = (torch.stack(part).cpu().double() for part in zip(*moments, strict=True))  # [K, C]
        num = layers[0].shape[0]
        count, total, squares = count + num, total + num * mean, squares + num * (var + mean.square())
    std = (squares / count - (total / count).square()).clamp(min=0).mean(dim=1).sqrt()  # [K]
    return dict(zip(resolutions, (100 * std / std.sum()).tolist(), strict=True))
