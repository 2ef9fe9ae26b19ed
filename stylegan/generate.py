"""Seeds to pictures: sheets, the truncation strip, style mixing, and interpolation.

Pure functions of a generator; they write no file. A seed gives the same z as in the official tools, so pictures can be
compared across implementations. N images, S seeds, P rows, Q columns, C channels, H W image, L = num_ws.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from stylegan.images import to_uint8
from stylegan.networks import Generator, truncate
from stylegan.networks.generator import NoiseMode


def latents(seeds: Sequence[int], z_dim: int) -> Tensor:
    """One standard normal z for each seed, independent of the other seeds  ->  [N, z_dim] float32

    Raises ValueError for a seed that NumPy's RandomState refuses.
    """
    wrong = [seed for seed in seeds if not 0 <= seed < 2**32]
    if wrong:
        raise ValueError(f"seed {wrong[0]}: seeds are whole numbers from 0 to {2**32 - 1}")
    rows = [np.random.RandomState(seed).randn(z_dim) for seed in seeds]
    return torch.from_numpy(np.stack(rows)).to(torch.float32)


def class_labels(num: int, c_dim: int, class_index: int | None) -> Tensor:
    """The same one-hot label for every image  ->  [N, c_dim]; [N, 0] for an unconditional generator

    Raises ValueError when a class is given to an unconditional generator, missing for a conditional one, or unknown.
    """
    if c_dim == 0 and class_index is not None:
        raise ValueError(
            f"class {class_index} was asked for, but this generator is unconditional. Leave the class out."
        )
    if c_dim > 0 and class_index is None:
        raise ValueError(f"this generator is conditional. Choose a class from 0 to {c_dim - 1}.")
    if class_index is not None and not 0 <= class_index < c_dim:
        raise ValueError(f"class {class_index} does not exist; this generator knows 0 to {c_dim - 1}.")
    c = torch.zeros(num, c_dim)
    if class_index is not None:
        c[:, class_index] = 1
    return c


@torch.no_grad()
def styles(G: Generator, seeds: Sequence[int], c: Tensor | None = None) -> Tensor:
    """Untruncated styles of seeds  ->  ws [N, L, w_dim] on the generator's device

    c [N, c_dim], or [1, c_dim] for all; None for an unconditional generator only.
    Raises ValueError as `latents` and `class_labels`.
    """
    device = G.mapping.w_avg.device
    c = class_labels(len(seeds), G.c_dim, None) if c is None else c
    ws: Tensor = G.mapping(latents(seeds, G.z_dim).to(device), c.expand(len(seeds), -1).to(device))
    return ws


@torch.no_grad()
def render_styles(G: Generator, ws: Tensor, *, batch_size: int, noise_mode: NoiseMode = "const") -> Tensor:
    """ws [N, L, w_dim] -> uint8 [N, C, H, W] on the CPU"""
    batches = [to_uint8(G.synthesis(part, noise_mode=noise_mode)).cpu() for part in torch.split(ws, batch_size)]
    return torch.cat(batches)


def generate_images(
    G: Generator,
    seeds: Sequence[int],
    *,
    psi: float,
    cutoff: int | None = None,
    noise_mode: NoiseMode = "const",
    c: Tensor | None = None,
    batch_size: int,
) -> Tensor:
    """One picture for each seed  ->  uint8 [N, C, H, W]

    Raises ValueError as `latents` and `class_labels`.
    """
    ws = truncate(styles(G, seeds, c), G.mapping.w_avg, psi, cutoff)
    return render_styles(G, ws, batch_size=batch_size, noise_mode=noise_mode)


def truncation_strip(
    G: Generator, seeds: Sequence[int], psis: Sequence[float], *, c: Tensor | None = None, batch_size: int
) -> Tensor:
    """Each seed (row) at each psi (column)  ->  uint8 [S * len(psis), C, H, W], row by row"""
    ws = styles(G, seeds, c)
    columns = torch.stack([truncate(ws, G.mapping.w_avg, psi) for psi in psis], dim=1)  # [S, len(psis), L, w_dim]
    return render_styles(G, columns.flatten(0, 1), batch_size=batch_size)


def style_mixing(
    G: Generator,
    row_seeds: Sequence[int],
    col_seeds: Sequence[int],
    layers: Sequence[int],
    *,
    psi: float,
    c: Tensor | None = None,
    batch_size: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows give all styles but those of `layers`, which the columns give (Karras et al. 2019, Sec. 3.1).

    -> (row pictures uint8 [P, C, H, W], column pictures [Q, C, H, W], mixed [P * Q, C, H, W] row by row)
    Raises ValueError for a layer the generator lacks.
    """
    wrong = [layer for layer in layers if not 0 <= layer < G.num_ws]
    if wrong:
        raise ValueError(
            f"layer {wrong[0]} does not exist; a generator of {G.img_resolution} pixels has 0 to {G.num_ws - 1}"
        )
    w_avg, num_rows, num_cols = G.mapping.w_avg, len(row_seeds), len(col_seeds)
    rows = truncate(styles(G, row_seeds, c), w_avg, psi)
    cols = truncate(styles(G, col_seeds, c), w_avg, psi)
    mixed = rows[:, None].repeat(1, num_cols, 1, 1)  # [P, Q, L, w_dim]
    mixed[:, :, list(layers)] = cols[None, :, list(layers)].expand(num_rows, -1, -1, -1)
    pictures = render_styles(G, torch.cat([rows, cols, mixed.flatten(0, 1)]), batch_size=batch_size)
    return pictures[:num_rows], pictures[num_rows : num_rows + num_cols], pictures[num_rows + num_cols :]


def interpolate(
    G: Generator, seeds: Sequence[int], frames: int, *, psi: float, c: Tensor | None = None, batch_size: int
) -> Iterator[Tensor]:
    """Walk in w from seed to seed and back to the first, `frames` steps a pair; yields uint8 [C, H, W].

    Straight lines in w, where equal steps look equal (Karras et al. 2019, Sec. 4.1). The last frame precedes the first,
    so the film loops. Raises ValueError for fewer than two seeds.
    """
    if len(seeds) < 2:
        raise ValueError(f"an interpolation needs at least two seeds, got {list(seeds)}")
    ws = truncate(styles(G, seeds, c), G.mapping.w_avg, psi)
    return _walk(G, ws, frames, batch_size)


def _walk(G: Generator, ws: Tensor, frames: int, batch_size: int) -> Iterator[Tensor]:
    steps = torch.linspace(0, 1, frames + 1, device=ws.device)[:-1, None, None]
    for start, end in zip(ws, ws.roll(-1, dims=0), strict=True):
        yield from render_styles(G, start.lerp(end, steps), batch_size=batch_size)
