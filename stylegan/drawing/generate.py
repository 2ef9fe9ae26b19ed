"""Seeds to images: sheets, the truncation strip, style mixing, and interpolation.

Pure functions of a generator; they write no file. A seed gives the same z as in the official tools, so images can be
compared across implementations. N images, S seeds, P rows, Q columns, T frames, C channels, H W image, L = num_ws.
"""

import difflib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from stylegan.data import ImageDataset
from stylegan.drawing.curves import Curve, through
from stylegan.images import to_uint8
from stylegan.networks import Generator, truncate
from stylegan.networks.layers import NoiseMode
from stylegan.text import listed


def latents(seeds: Sequence[int], z_dim: int) -> Tensor:
    """One standard normal z for each seed, independent of the other seeds  ->  [N, z_dim] float32

    Raises ValueError for a seed that NumPy's RandomState refuses.
    """
    wrong = [seed for seed in seeds if not 0 <= seed < 2**32]
    if wrong:
        raise ValueError(f"seed {wrong[0]}: seeds are whole numbers from 0 to {2**32 - 1}")
    rows = [np.random.RandomState(seed).randn(z_dim) for seed in seeds]
    return torch.from_numpy(np.stack(rows)).to(torch.float32)


def labels_in_turn(dataset: ImageDataset, num: int) -> Tensor:
    """Labels for images that show what a conditional generator knows  ->  [N, c_dim]

    Every class that has images in turn, or if they are more than images, as many at equal distances; of other labels
    those of images at equal distances. An archive is in the order of classes, so its first labels may all be equal.
    """
    labels = dataset.labels_on(torch.device("cpu"))
    if labels.table is None or labels.table.ndim == 2:
        return labels(torch.arange(num) * dataset.num_images // num)
    classes = labels.table.unique()
    shown = classes[torch.arange(num) * len(classes) // num] if len(classes) > num else classes
    return one_hot(shown[torch.arange(num) % len(shown)].long(), labels.c_dim).float()


def class_labels(num: int, c_dim: int, class_index: int | None) -> Tensor:
    """The same one-hot label for every image  ->  [N, c_dim]; [N, 0] for an unconditional generator

    Raises ValueError if a class is given to an unconditional generator, missing for a conditional one, or unknown.
    """
    if c_dim == 0 and class_index is not None:
        raise ValueError(
            f"class {class_index} was requested, but this generator is unconditional. Leave the class out."
        )
    if c_dim > 0 and class_index is None:
        raise ValueError(f"this generator is conditional. Choose a class from 0 to {c_dim - 1}.")
    if class_index is not None and not 0 <= class_index < c_dim:
        raise ValueError(f"class {class_index} does not exist; this generator knows 0 to {c_dim - 1}.")
    c = torch.zeros(num, c_dim)
    if class_index is not None:
        c[:, class_index] = 1
    return c


def class_number(text: str, c_dim: int, class_names: Sequence[str] | None) -> int:
    """Number of the class that a person means by a name or a number; a name goes first.

    Raises ValueError that suggests the nearest name. `class_labels` checks the range.
    """
    if class_names and text in class_names:
        return list(class_names).index(text)
    if text.isascii() and text.isdecimal():
        return int(text)
    if c_dim == 0:
        raise ValueError(f"class {text} was requested, but this generator is unconditional. Leave the class out.")
    if not class_names:
        raise ValueError(f"class {text!r} is not a number, and this file names no classes; choose 0 to {c_dim - 1}.")
    nearest = difflib.get_close_matches(text, class_names, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"this generator knows {listed(class_names)}."
    raise ValueError(f"class {text!r} does not exist; {hint}")


def label_vector(values: Sequence[float], c_dim: int) -> Tensor:
    """A label given number by number  ->  [1, c_dim]. Raises ValueError for another length."""
    if len(values) != c_dim:
        takes = f"takes {c_dim}" if c_dim else "is unconditional. Leave the label out"
        raise ValueError(f"a label of {len(values)} numbers was given, but this generator {takes}.")
    return torch.tensor([values], dtype=torch.float32)


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
    """One image for each seed  ->  uint8 [N, C, H, W]

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


def mix_styles(rows: Tensor, cols: Tensor, layers: Sequence[int]) -> Tensor:
    """Each row's styles with those of `layers` from each column  [P, L, w_dim], [Q, L, w_dim] -> [P, Q, L, w_dim]

    (Karras et al. 2019, Sec. 3.1.) Raises ValueError for a layer that is not there.
    """
    num_ws = rows.shape[1]
    wrong = [layer for layer in layers if not 0 <= layer < num_ws]
    if wrong:
        raise ValueError(f"layer {wrong[0]} does not exist; this generator has 0 to {num_ws - 1}")
    mixed = rows[:, None].repeat(1, len(cols), 1, 1)
    mixed[:, :, list(layers)] = cols[None, :, list(layers)].expand(len(rows), -1, -1, -1)
    return mixed


def styles_between(G: Generator, keys: Tensor, frames: int, *, curve: Curve, loop: bool) -> Tensor:
    """Walk through styles in w, `frames` steps from key to key  [K, L, w_dim] -> [T, L, w_dim]

    Straight in w, equal steps look equal (Karras et al. 2019, Sec. 4.1).
    Spherical arcs turn around the mean style, so that a frame is as truncated as its keys.
    Raises ValueError as `through`.
    """
    return through(keys, frames, curve=curve, loop=loop, center=G.mapping.w_avg)


@torch.no_grad()
def styles_along(
    G: Generator, seeds: Sequence[int], frames: int, *, curve: Curve, loop: bool, c: Tensor | None = None
) -> Tensor:
    """Walk from seed to seed in z, and straight from label to label  ->  [T, L, w_dim]

    c [S, c_dim], or [1, c_dim] for all. Raises ValueError as `styles` and `through`.
    """
    device = G.mapping.w_avg.device
    c = class_labels(len(seeds), G.c_dim, None) if c is None else c
    z = through(latents(seeds, G.z_dim), frames, curve=curve, loop=loop)
    labels = through(c.expand(len(seeds), -1), frames, curve="linear", loop=loop)
    ws: Tensor = G.mapping(z.to(device), labels.to(device))
    return ws


def render_each(G: Generator, ws: Tensor, *, batch_size: int, noise_mode: NoiseMode = "const") -> Iterator[Tensor]:
    """ws [T, L, w_dim] -> T times uint8 [C, H, W], computed when asked for"""
    for part in torch.split(ws, batch_size):
        yield from render_styles(G, part, batch_size=batch_size, noise_mode=noise_mode)
