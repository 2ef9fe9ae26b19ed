"""Sheets and film of the report: samples, real images, truncation, style mixing, interpolation."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from pipelines.drawing.sheets import labelled_sheet, png_of
from pipelines.params import Params
from pipelines.render.report_page import Pictures
from stylegan.analysis.contributions import band_energies
from stylegan.data import ImageDataset
from stylegan.drawing.generate import generate_images, interpolate, style_mixing, truncation_strip
from stylegan.drawing.video import save_mp4
from stylegan.files import replacing
from stylegan.images import to_float
from stylegan.networks import Generator


def draw_pictures(
    params: Params, G: Generator, dataset: ImageDataset, reports: Path, neighbors: bytes | None
) -> Pictures:
    """Everything that shows pictures, written to reports/ and returned as bytes.

    A conditional generator gets the labels of the real images shown, so both sheets hold the same classes.
    """
    config = params.render
    reals, c = choose_reals(dataset, config.num_seeds, params.evaluate.seed)
    sheets = {
        "reals": labelled_sheet(reals, sheet_columns(len(reals)), config.video_scale),
        "samples": samples_sheet(params, G, c),
        "truncation": truncation_sheet(params, G, c),
        "mixing": mixing_sheet(params, G, c),
    }
    pngs = {name: write(reports / f"{name}.png", png_of(sheet)) for name, sheet in sheets.items()}
    frames = interpolate(
        G, config.interpolation_seeds, config.interpolation_frames, psi=config.truncation_psi,
        c=labels_for(c, len(config.interpolation_seeds)), batch_size=params.evaluate.batch_size,
    )  # fmt: skip
    save_mp4(frames, reports / "interpolation.mp4", fps=config.video_fps, scale=config.video_scale)
    return Pictures(**pngs, film=(reports / "interpolation.mp4").read_bytes(), neighbors=neighbors)


def compare_bands(params: Params, G: Generator, dataset: ImageDataset) -> dict[str, dict[int, float]]:
    """Band energies of as many generated images, untruncated and with the labels of the real ones, as of real images"""
    config, batch_size = params.render, params.evaluate.batch_size
    reals, c = choose_reals(dataset, config.num_seeds, params.evaluate.seed)
    gen = generate_images(
        G, range(config.num_seeds), psi=1.0, c=labels_for(c, config.num_seeds), batch_size=batch_size
    )  # fmt: skip
    resolutions = G.synthesis.block_resolutions
    return {
        name: band_energies(map(to_float, torch.split(img, batch_size)), resolutions)
        for name, img in (("generated", gen), ("real", reals))
    }


def choose_reals(dataset: ImageDataset, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random training images, without repetition, and their labels  ->  uint8 [N, C, H, W], [N, c_dim]; N <= count

    Of classes one image each in turn, so that the rarest is shown too.
    """
    order = np.random.default_rng(seed).permutation(len(dataset))
    classes = dataset.labels_on(torch.device("cpu")).table
    if classes is not None and classes.ndim == 1:
        drawn = classes.numpy()[order % dataset.num_images]
        by_class = np.argsort(drawn, kind="stable")
        _, first, counts = np.unique(drawn[by_class], return_index=True, return_counts=True)
        turn = np.empty(len(order), np.int64)  # 0 for the first image drawn of each class, 1 for the second, ...
        turn[by_class] = np.arange(len(order)) - np.repeat(first, counts)
        order = order[np.argsort(turn, kind="stable")]
    return dataset.batch(order[:count])


def labels_for(c: Tensor, count: int) -> Tensor:
    """Repeat labels [N, c_dim] until there are `count`"""
    return c[torch.arange(count) % len(c)]


def sheet_columns(count: int) -> int:
    """Columns that make a sheet of square images a little wider than high: 10 for 60"""
    return math.ceil(math.sqrt(count * 5 / 3))


def samples_sheet(params: Params, G: Generator, c: Tensor) -> Image:
    """One generated image for each seed from 0"""
    config = params.render
    images = generate_images(
        G, range(config.num_seeds), psi=config.truncation_psi, c=labels_for(c, config.num_seeds),
        batch_size=params.evaluate.batch_size,
    )  # fmt: skip
    return labelled_sheet(images, sheet_columns(len(images)), config.video_scale)


def truncation_sheet(params: Params, G: Generator, c: Tensor) -> Image:
    """Seeds (rows) over psi (columns)"""
    config = params.render
    seeds, psis = range(config.strip_num_seeds), config.psi_strip
    strip = truncation_strip(G, seeds, psis, c=labels_for(c, len(seeds)), batch_size=params.evaluate.batch_size)
    names = [f"{psi:g}" for psi in psis]
    return labelled_sheet(strip, len(psis), config.video_scale, column_labels=names, row_labels=[str(s) for s in seeds])


def mixing_sheet(params: Params, G: Generator, c: Tensor) -> Image:
    """Every row with the layers of every column, their own pictures to the left and above"""
    config = params.render
    rows, cols, mixed = style_mixing(
        G, config.mixing_rows, config.mixing_cols, config.mixing_layers, psi=config.truncation_psi, c=c[:1],
        batch_size=params.evaluate.batch_size,
    )  # fmt: skip
    corner = torch.full_like(rows[:1], 255)
    header = torch.cat([corner, cols])
    body = torch.cat([rows[:, None], mixed.reshape(len(rows), len(cols), *rows.shape[1:])], dim=1)
    table = torch.cat([header, body.flatten(0, 1)])
    return labelled_sheet(
        table, len(cols) + 1, config.video_scale,
        column_labels=["", *map(str, config.mixing_cols)], row_labels=["", *map(str, config.mixing_rows)],
    )  # fmt: skip


def write(path: Path, content: bytes) -> bytes:
    """Write a file whole, and pass its content on."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return content
