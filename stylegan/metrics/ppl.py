"""Perceptual path length (Karras et al. 2019, Sec. 4.1): how fast images change along a path in W.

Path ends in W, as StyleGAN2's ppl2_wend. P pairs, N images, C channels, H W image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.metrics.extractors import on_white
from stylegan.metrics.lpips import Lpips
from stylegan.metrics.sampling import Z_END, batches, draw_latents, synthesize_w
from stylegan.networks import Generator

MAX_RESOLUTION = 256  # VGG16 saw images of about this size; larger ones are averaged down to it
PERCENTILES = (1, 99)  # kept; jumps of a few pairs would rule the mean


@torch.no_grad()
def path_lengths(
    G: Generator, lpips: Lpips, c: Tensor, *, epsilon: float, seed: int, batch_size: int, psi: float, cutoff: int | None
) -> Tensor:
    """d(G(w0), G(lerp(w0, w1, epsilon))) / epsilon^2 for one pair per label in c [P, c_dim]  ->  [P]

    (Karras et al. 2019, Eq. 3 at t = 0.) Both images share label and noise. psi, cutoff: truncation of both ends.
    """
    w0 = draw_latents(G, c, seed, batch_size).w
    w1 = draw_latents(G, c, seed, batch_size, stream=Z_END).w
    lengths = []
    for rows in batches(len(c), batch_size):
        a, b = w0[rows.start : rows.stop], w1[rows.start : rows.stop]
        img0 = synthesize_w(G, a, seed, rows, psi, cutoff)
        img1 = synthesize_w(G, a.lerp(b, epsilon), seed, rows, psi, cutoff)
        lengths.append(lpips(lpips_input(img0), lpips_input(img1)) / epsilon**2)
    return torch.cat(lengths)


def perceptual_path_length(lengths: Tensor) -> float:
    """Mean of the lengths [P] between their 1st and 99th percentile, both included"""
    low = torch.quantile(lengths.double(), PERCENTILES[0] / 100, interpolation="lower")
    high = torch.quantile(lengths.double(), PERCENTILES[1] / 100, interpolation="higher")
    kept = lengths.double()[(lengths >= low) & (lengths <= high)]
    return float(kept.mean())


def lpips_input(img: Tensor) -> Tensor:
    """Images [N, C, H, W] -> RGB [N, 3, H', W'] of at most 256 pixels: grey repeated, transparency on white"""
    rgb = on_white(img, black=-1, white=1)
    factor = max(img.shape[2:]) // MAX_RESOLUTION
    return F.avg_pool2d(rgb, factor) if factor > 1 else rgb
