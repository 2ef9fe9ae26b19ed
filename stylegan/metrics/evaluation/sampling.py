"""Which images are measured: image i is a pure function of (seed, i), whatever the batch, the process, or psi.

N images, L = num_ws, C channels, H W image.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from stylegan import images
from stylegan.data import ImageDataset
from stylegan.networks import Generator, truncate

# Independent streams of random numbers of one image.
Z, Z_END, NOISE, LABEL, PATH = range(5)


@dataclass(frozen=True)
class Latents:
    """w of images 0 .. N-1 before truncation; psi does not enter, so a sweep shares them."""

    seed: int
    w: Tensor  # [N, w_dim]

    def __len__(self) -> int:
        return len(self.w)


def draw_labels(dataset: ImageDataset, num_images: int, seed: int) -> Tensor:
    """Labels [N, c_dim] as frequent as in the dataset"""
    rows = [int(_rng(seed, LABEL, i).integers(len(dataset))) for i in range(num_images)]
    return dataset.labels(rows)


@torch.no_grad()
def draw_latents(G: Generator, c: Tensor, seed: int, batch_size: int, stream: int = Z) -> Latents:
    """Latents of one image for each label in c [N, c_dim]"""
    return Latents(
        seed,
        torch.cat([draw_w(G, c[rows.start : rows.stop], seed, rows, stream) for rows in batches(len(c), batch_size)]),
    )


@torch.no_grad()
def draw_w(G: Generator, c: Tensor, seed: int, rows: range, stream: int = Z) -> Tensor:
    """w [n, w_dim] of the images `rows`, whose labels are c [n, c_dim]"""
    z = normals(seed, stream, rows, G.z_dim).to(G.mapping.w_avg)
    w: Tensor = G.mapping(z, c.to(z))[:, 0]  # one w for all layers
    return w


@torch.no_grad()
def synthesize(G: Generator, latents: Latents, rows: range, psi: float, cutoff: int | None) -> Tensor:
    """Images [n, C, H, W], float in about [-1, 1], of the given rows of latents, each with noise of its own"""
    w = latents.w[rows.start : rows.stop].to(G.mapping.w_avg)
    return synthesize_w(G, w, draw_noise(G, latents.seed, rows), psi, cutoff)


def draw_noise(G: Generator, seed: int, rows: range) -> dict[str, Tensor]:
    """Noise maps [n, 1, H, W] of the images `rows`, by the names of the constant ones whose place they take

    As in noise_mode "random", but a function of (seed, row), so that a sweep over psi shares them.
    """
    maps = noise_buffers(G)
    sizes = [buffer.numel() for buffer in maps.values()]
    draws = normals(seed, NOISE, rows, sum(sizes)).to(G.mapping.w_avg).split(sizes, dim=1)
    return {name: draw.reshape(-1, 1, *maps[name].shape[-2:]) for name, draw in zip(maps, draws, strict=True)}


@torch.no_grad()
def synthesize_w(G: Generator, w: Tensor, noise: Mapping[str, Tensor], psi: float, cutoff: int | None) -> Tensor:
    """Images [n, C, H, W] of w [n, w_dim] with the noise maps of draw_noise"""
    return synthesize_ws(G, truncate(w[:, None].expand(-1, G.num_ws, -1), G.mapping.w_avg, psi, cutoff), noise)


def synthesize_ws(G: Generator, ws: Tensor, noise: Mapping[str, Tensor]) -> Tensor:
    """Images [n, C, H, W] of ws [n, L, w_dim], each with its own maps [n, 1, H, W] in place of the buffers so named

    So the network needs to know neither of projection nor of measurements.
    """
    img: Tensor = functional_call(G.synthesis, dict(noise), (ws,), {"noise_mode": "const"})
    return img


def noise_buffers(G: Generator) -> dict[str, Tensor]:
    """Constant noise maps of every layer by name"""
    return {name: buffer for name, buffer in G.synthesis.named_buffers() if name.endswith("noise_const")}


def generated_batches(
    G: Generator, latents: Latents, psi: float, cutoff: int | None, batch_size: int
) -> Iterator[Tensor]:
    """uint8 [n, C, H, W] of every row of latents, in order"""
    for rows in batches(len(latents), batch_size):
        yield images.to_uint8(synthesize(G, latents, rows, psi, cutoff))


def batches(count: int, batch_size: int) -> Iterator[range]:
    """0 .. count-1 in consecutive ranges of batch_size and a shorter last one"""
    for start in range(0, count, batch_size):
        yield range(start, min(start + batch_size, count))


def normals(seed: int, stream: int, rows: Sequence[int], size: int) -> Tensor:
    """Standard normal numbers [n, size], the same on every device"""
    draws = [_rng(seed, stream, row).standard_normal(size, dtype=np.float32) for row in rows]
    return torch.from_numpy(np.stack(draws))


def uniforms(seed: int, stream: int, rows: Sequence[int]) -> Tensor:
    """fp64 numbers [n] in [0, 1), the same on every device"""
    return torch.tensor([_rng(seed, stream, row).random() for row in rows], dtype=torch.float64)


def _rng(seed: int, stream: int, row: int) -> np.random.Generator:
    return np.random.default_rng((seed, stream, row))
