"""Perceptual path length (Karras et al. 2019, Sec. 4.1): how fast images change along a path between two latents.

P pairs, N images, C channels, H W image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.drawing.curves import slerp
from stylegan.images import on_white
from stylegan.metrics.evaluation.sampling import PATH, Z_END, Z, draw_noise, normals, synthesize_w, uniforms
from stylegan.metrics.extractors.lpips import Lpips
from stylegan.networks import Generator

MAX_RESOLUTION = 256  # VGG16 saw images of about this size; larger ones are averaged down to it
PERCENTILES = (1, 99)  # kept; jumps of a few pairs would rule the mean


@dataclass(frozen=True)
class PathProtocol:
    """What a path is and what is seen of it; the published ones are PROTOCOLS."""

    space: Literal["z", "w"]  # great circle between z, or straight line between w
    sampling: Literal["full", "end"]  # at t uniform in [0, 1), or at t = 0
    crop: bool  # the middle of the image, where an aligned portrait has its face


# Published with 50,000 pairs and epsilon 1e-4, untruncated. StyleGAN2 reports ppl2_wend, StyleGAN the others.
PROTOCOLS = {
    "ppl2_wend": PathProtocol("w", "end", crop=False),
    "ppl_zfull": PathProtocol("z", "full", crop=True),
    "ppl_wfull": PathProtocol("w", "full", crop=True),
    "ppl_zend": PathProtocol("z", "end", crop=True),
    "ppl_wend": PathProtocol("w", "end", crop=True),
}


@torch.no_grad()
def path_lengths(
    G: Generator,
    lpips: Lpips,
    c: Tensor,
    protocol: PathProtocol,
    rows: range,
    *,
    epsilon: float,
    seed: int,
    psis: Sequence[float],
    cutoff: int | None,
) -> list[Tensor]:
    """d(G(path(t)), G(path(t + epsilon))) / epsilon^2 of the paths `rows`, whose labels are c [n, c_dim]  ->  [n] a psi

    (Karras et al. 2019, Eq. 2-3.) Both images share label and noise. psis, cutoff: truncations of both ends, which
    share latents and noise.
    """
    ends, noise = path_step(G, c, protocol, epsilon, seed, rows), draw_noise(G, seed, rows)
    lengths = []
    for psi in psis:
        img0, img1 = (lpips_input(synthesize_w(G, w, noise, psi, cutoff), protocol.crop) for w in ends)
        lengths.append(lpips(img0, img1) / epsilon**2)
    return lengths


def path_step(
    G: Generator, c: Tensor, protocol: PathProtocol, epsilon: float, seed: int, rows: range
) -> tuple[Tensor, Tensor]:
    """w [n, w_dim] at t and at t + epsilon of the paths `rows`, whose labels are c [n, c_dim]"""
    z0, z1 = (normals(seed, stream, rows, G.z_dim) for stream in (Z, Z_END))
    t = uniforms(seed, PATH, rows)[:, None] if protocol.sampling == "full" else torch.zeros(len(rows), 1)

    def to_w(z: Tensor) -> Tensor:
        w: Tensor = G.mapping(z.to(G.mapping.w_avg), c.to(G.mapping.w_avg))[:, 0]
        return w

    if protocol.space == "z":
        return to_w(on_great_circle(z0, z1, t)), to_w(on_great_circle(z0, z1, t + epsilon))
    w0, w1 = to_w(z0), to_w(z1)
    w = w0.lerp(w1, t.to(w0))
    return w, w + epsilon * (w1 - w0)


def on_great_circle(z0: Tensor, z1: Tensor, t: Tensor) -> Tensor:
    """Point at t [N, 1] of the great circle through the directions of z0 and z1 [N, z_dim]  ->  unit vectors

    (Karras et al. 2019, Eq. 2.) Computed in fp64: the steps of a path are as small as fp32's rounding.
    """
    return slerp(F.normalize(z0.double(), dim=1), F.normalize(z1.double(), dim=1), t.double())


def perceptual_path_length(lengths: Tensor) -> Tensor:
    """Mean of the lengths [..., P] between their 1st and 99th percentile, both included  ->  fp64 [...]"""
    ordered, last = lengths.double().sort(dim=-1).values, lengths.shape[-1] - 1
    low, high = (
        ordered[..., place, None]
        for place in (math.floor(PERCENTILES[0] / 100 * last), math.ceil(PERCENTILES[1] / 100 * last))
    )
    kept = (ordered >= low) & (ordered <= high)  # equal lengths are kept all or none
    return (ordered * kept).sum(dim=-1) / kept.sum(dim=-1)


def lpips_input(img: Tensor, crop: bool = False) -> Tensor:
    """Images [N, C, H, W] -> RGB [N, 3, H', W'] of at most 256 pixels: grey repeated, transparency on white

    crop: rows 3/8 to 7/8 and columns 2/8 to 6/8 only. Images are averaged down by the factor of the whole image.
    """
    factor = max(img.shape[2:]) // MAX_RESOLUTION
    if crop:
        h, w = (size // 8 for size in img.shape[2:])
        img = img[:, :, 3 * h : 7 * h, 2 * w : 6 * w]
    rgb = on_white(img, black=-1, white=1)
    return F.avg_pool2d(rgb, factor) if factor > 1 else rgb
