"""Which images are measured: image i is a pure function of (seed, i), whatever the batch, the process, or psi.

Random numbers come from NumPy, so they are the same on every device. At 1024 pixels an image takes 2.8 million, which
cost more than the image on a GPU, so all cores that torch may use draw them, for a batch ahead of need.
N images, L = num_ws, C channels, H W image.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
WORTH_A_THREAD = 2**18  # numbers, a few milliseconds; below, threads cost more than they save


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
    return next(synthesized(G, latents, [rows], psi, cutoff))


def synthesized(
    G: Generator, latents: Latents, shares: Iterable[range], psi: float, cutoff: int | None
) -> Iterator[Tensor]:
    """Images [n, C, H, W] of each of these rows of latents, whose noise is drawn ahead"""
    for rows, noise in noise_ahead(G, latents.seed, shares):
        w = latents.w[rows.start : rows.stop].to(G.mapping.w_avg)
        yield synthesize_w(G, w, noise, psi, cutoff)


def draw_noise(G: Generator, seed: int, rows: range) -> dict[str, Tensor]:
    """Noise maps [n, 1, H, W] of the images `rows`, by the names of the constant ones whose place they take

    As in noise_mode "random", but a function of (seed, row), so that a sweep over psi shares them.
    """
    return _maps_of(G, normals(seed, NOISE, rows, _num_noise(G)))


def noise_ahead(G: Generator, seed: int, shares: Iterable[range]) -> Iterator[tuple[range, dict[str, Tensor]]]:
    """Each of the rows with their draw_noise, which is drawn while the caller is busy with the rows before"""
    size, num_threads = _num_noise(G), torch.get_num_threads()  # which other threads do not know
    with ThreadPoolExecutor(1, "noise") as ahead:
        waiting = deque[tuple[range, Future[Tensor]]]()
        for rows in shares:
            waiting.append((rows, ahead.submit(_draw, seed, NOISE, rows, size, num_threads)))
            if len(waiting) > 1:
                before, drawn = waiting.popleft()
                yield before, _maps_of(G, drawn.result())
        for rows, drawn in waiting:
            yield rows, _maps_of(G, drawn.result())


def _num_noise(G: Generator) -> int:
    return sum(buffer.numel() for buffer in noise_buffers(G).values())


def _maps_of(G: Generator, draws: Tensor) -> dict[str, Tensor]:
    """Draws [n, size] -> maps [n, 1, H, W] by name"""
    maps = noise_buffers(G)
    parts = draws.to(G.mapping.w_avg).split([buffer.numel() for buffer in maps.values()], dim=1)
    return {name: part.reshape(-1, 1, *maps[name].shape[-2:]) for name, part in zip(maps, parts, strict=True)}


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
    for img in synthesized(G, latents, batches(len(latents), batch_size), psi, cutoff):
        yield images.to_uint8(img)


def batches(count: int, batch_size: int) -> Iterator[range]:
    """0 .. count-1 in consecutive ranges of batch_size and a shorter last one"""
    for start in range(0, count, batch_size):
        yield range(start, min(start + batch_size, count))


def normals(seed: int, stream: int, rows: Sequence[int], size: int) -> Tensor:
    """Standard normal numbers [n, size], the same on every device and for any number of cores, which share the rows"""
    return _draw(seed, stream, rows, size, torch.get_num_threads())


def _draw(seed: int, stream: int, rows: Sequence[int], size: int, num_threads: int) -> Tensor:
    draws = np.empty((len(rows), size), dtype=np.float32)

    def fill(place: int) -> None:
        _rng(seed, stream, rows[place]).standard_normal(dtype=np.float32, out=draws[place])

    places = range(len(rows))
    if draws.size < WORTH_A_THREAD or min(num_threads, len(rows)) < 2:
        for place in places:
            fill(place)
    else:
        with ThreadPoolExecutor(min(num_threads, len(rows)), "normals") as pool:
            list(pool.map(fill, places))  # NumPy lets go of the interpreter while it draws
    return torch.from_numpy(draws)


def uniforms(seed: int, stream: int, rows: Sequence[int]) -> Tensor:
    """fp64 numbers [n] in [0, 1), the same on every device"""
    return torch.tensor([_rng(seed, stream, row).random() for row in rows], dtype=torch.float64)


def _rng(seed: int, stream: int, row: int) -> np.random.Generator:
    return np.random.default_rng((seed, stream, row))
