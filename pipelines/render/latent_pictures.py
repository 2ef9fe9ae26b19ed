"""What the latent space holds: truncation, style mixing by resolution, noise alone, and a walk between good images.

N images, S seeds, L = num_ws, C channels, H W image.
"""

from collections.abc import Iterator, Sequence

import torch
from PIL.Image import Image
from torch import Tensor

from pipelines.artifacts.metrics_json import MetricsReport
from pipelines.drawing.sheets import labelled_sheet
from pipelines.params import Params
from stylegan.data import ImageDataset
from stylegan.drawing.generate import (
    mix_styles,
    render_each,
    render_styles,
    styles,
    styles_between,
    truncation_strip,
)
from stylegan.images import to_uint8
from stylegan.metrics.evaluation import sampling
from stylegan.metrics.evaluation.sampling import draw_labels, draw_noise, draw_w, noise_buffers, synthesize_ws
from stylegan.networks import Generator, truncate

NOISE_DRAWS, NOISE_SHOWN = 20, 4  # for the spread of pixels; drawn as images, if so many fit side by side
PUBLISHED = (2, 4)  # blocks, from the lowest: coarse up to 8 pixels, middle up to 32 (Karras et al. 2019, Fig. 3)


def truncation_sheet(params: Params, G: Generator, c: Tensor) -> Image:
    """Seeds (rows) over psi (columns)"""
    config = params.render
    seeds, psis = range(config.strip_num_seeds), config.psi_strip
    strip = truncation_strip(G, seeds, psis, c=c, batch_size=params.evaluate.batch_size)
    names = [f"{psi:g}" for psi in psis]
    return labelled_sheet(strip, len(psis), config.video_scale, column_labels=names, row_labels=[str(s) for s in seeds])


def style_bands(num_ws: int) -> dict[str, range]:
    """Style layers, two a resolution, that are mixed together

    Coarse up to 8 pixels and middle up to 32 as published; fewer of a network that has no finer ones.
    """
    blocks = num_ws // 2
    coarse, middle = PUBLISHED if blocks > PUBLISHED[1] else (blocks // 2, blocks - 1)
    ends = {"coarse": (0, 2 * coarse), "middle": (2 * coarse, 2 * middle), "fine": (2 * middle, num_ws)}
    return {name: range(*end) for name, end in ends.items() if end[0] < end[1]}


def mixing_sheet(params: Params, G: Generator, c: Tensor) -> Image:
    """For each band of styles, every row with that band of every column; own images to the left and above"""
    config, size = params.render, params.evaluate.batch_size
    rows, cols = (
        truncate(styles(G, seeds, c[:1]), G.mapping.w_avg, config.truncation_psi)
        for seeds in (config.mixing_rows, config.mixing_cols)
    )
    sources, above = (render_styles(G, ws, batch_size=size) for ws in (rows, cols))
    table, names = [torch.full_like(above[:1], 255), above], [""]
    for name, layers in style_bands(G.num_ws).items():
        mixed = render_styles(G, mix_styles(rows, cols, layers).flatten(0, 1), batch_size=size)
        for seed, source, row in zip(config.mixing_rows, sources, mixed.split(len(cols)), strict=True):
            table += [source[None], row]
            names.append(f"{name} {seed}")
    return labelled_sheet(
        torch.cat(table), len(cols) + 1, config.video_scale,
        column_labels=["", *map(str, config.mixing_cols)], row_labels=names,
    )  # fmt: skip


@torch.no_grad()
def noise_sheet(params: Params, G: Generator, c: Tensor) -> Image:
    """Seeds (rows) with other noise maps (columns), and where they differ: nowhere in a generator without noise

    The last column is the standard deviation over NOISE_DRAWS maps, brightest where it is greatest
    (Karras et al. 2019, Fig. 4).
    """
    config, shown = params.render, []
    num_shown = min(NOISE_SHOWN, len(config.mixing_cols))
    for ws in truncate(styles(G, config.mixing_rows, c), G.mapping.w_avg, config.truncation_psi):
        batches = [
            to_uint8(synthesize_ws(G, ws.expand(len(rows), -1, -1), _noise(G, params.evaluate.seed, rows))).cpu()
            for rows in sampling.batches(NOISE_DRAWS, params.evaluate.batch_size)
        ]
        img = torch.cat(batches)
        shown += [img[:num_shown], _spread(img)]
    names = [f"noise {i}" for i in range(num_shown)]
    return labelled_sheet(
        torch.cat(shown), num_shown + 1, config.video_scale,
        column_labels=[*names, "spread"], row_labels=list(map(str, config.mixing_rows)),
    )  # fmt: skip


def _noise(G: Generator, seed: int, rows: range) -> dict[str, Tensor]:
    return draw_noise(G, seed, rows) if noise_buffers(G) else {}


def _spread(img: Tensor) -> Tensor:
    """Standard deviation of each pixel over images uint8 [N, C, H, W], the greatest white  ->  uint8 [1, C, H, W]"""
    num_colours = 3 if img.shape[1] >= 3 else 1
    found = img[:, :num_colours].float().std(dim=0).mean(dim=0)
    spread = img[:1].clone()  # so that an alpha channel stays
    spread[:, :num_colours] = (255 * found / found.max().clamp_min(1e-9)).round().to(torch.uint8)
    return spread


@torch.no_grad()
def walk_keys(params: Params, G: Generator, dataset: ImageDataset, results: MetricsReport) -> Tensor:
    """Truncated styles of the most realistic images, or of the first where none was judged  ->  [N, L, w_dim]"""
    rows = walk_rows(params.render.interpolation_images, results)
    c = draw_labels(dataset, max(rows) + 1, results.seed)
    w = torch.cat([draw_w(G, c[row : row + 1], results.seed, range(row, row + 1)) for row in rows])
    ws = w[:, None].expand(-1, G.num_ws, -1)
    return truncate(ws, G.mapping.w_avg, params.render.truncation_psi)


def walk_rows(count: int, results: MetricsReport) -> Sequence[int]:
    """Images that the walk passes through: `count`, or as many as were judged"""
    return (results.realism.best if results.realism else range(results.num_images))[:count]


def walk_frames(params: Params, G: Generator, keys: Tensor) -> Iterator[Tensor]:
    """uint8 [C, H, W] from key to key in w and back to the first, equal steps (Karras et al. 2019, Sec. 4.1)"""
    ws = styles_between(G, keys, params.render.interpolation_frames, curve="linear", loop=True)
    return render_each(G, ws, batch_size=params.evaluate.batch_size)


def walk_sheet(params: Params, G: Generator, keys: Tensor) -> Image:
    """From key to key in w, a row for each pair, as many columns as the strip of psi has rows"""
    steps = max(params.render.strip_num_seeds - 1, 1)
    ws = [styles_between(G, keys[i : i + 2], steps, curve="linear", loop=False) for i in range(len(keys) - 1)]
    img = render_styles(G, torch.cat(ws), batch_size=params.evaluate.batch_size)
    return labelled_sheet(img, len(ws[0]), params.render.video_scale)


def band_names(num_ws: int) -> Sequence[str]:
    """ "coarse: styles 0 to 3" for each band"""
    return [f"{name}: styles {band[0]} to {band[-1]}" for name, band in style_bands(num_ws).items()]
