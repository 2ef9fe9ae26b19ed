"""contributions: how much each resolution of a trained generator contributes to its images."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor

from stylegan.analysis.contributions import Shares, band_energies, layer_contributions
from stylegan.config.pyramid import Pyramid, pyramid, spelt
from stylegan.console import make_console
from stylegan.data import ImageDataset
from stylegan.drawing.generate import class_labels, generate_images, labels_in_turn, styles
from stylegan.generators import class_of, load_any_generator
from stylegan.images import to_float
from stylegan.networks import Generator


def contributions(options: argparse.Namespace) -> str:
    """A table with a row for each resolution."""
    G, names = load_any_generator(options.generator)
    G = G.to(options.device)
    real = _open(options.archive, G) if options.archive else None
    c = _labels(G, real, options.images, class_of(options.class_name, G, names))
    columns: dict[str, Shares] = {}
    if G.config.architecture == "skip" or real is None:  # without either there is nothing to show, and this says why
        ws = styles(G, range(options.images), c)
        columns["contribution"] = layer_contributions(G, ws, batch_size=options.batch_size)
    if real is not None:
        resolutions = G.synthesis.block_resolutions
        columns["bands, generated"] = band_energies(_generated(G, c, options), resolutions)
        columns["bands, real"] = band_energies(_real(real, options), resolutions)
    if options.json:
        return json.dumps({"images": options.images, "percent": _records(columns, pyramid(G.img_resolution))})
    _print(columns, pyramid(G.img_resolution))
    note = (
        "" if "contribution" in columns else f"; contributions need architecture skip, this is {G.config.architecture}"
    )
    return f"standard deviation of the pixels that each resolution adds, over {options.images} images{note}"


def _open(archive: Path, G: Generator) -> ImageDataset:
    """Real images of the generator's kind. Raises ValueError for others."""
    data = ImageDataset(archive, use_labels=G.c_dim > 0, xflip=False, split="train", max_images=None)
    if (data.resolution, data.channels) != (G.img_resolution, G.img_channels):
        raise ValueError(
            f"{archive}: images of {spelt(data.resolution)} pixels and {data.channels} channels; this generator makes "
            f"{spelt(G.img_resolution)} pixels and {G.img_channels}. Name the archive that it was trained on."
        )
    return data


def _labels(G: Generator, real: ImageDataset | None, num: int, class_index: int | None) -> Tensor:
    """[N, c_dim]: the class asked for, else all classes of the real images in turn"""
    if G.c_dim > 0 and class_index is None and real is not None:
        return labels_in_turn(real, num)
    return class_labels(num, G.c_dim, class_index)


def _generated(G: Generator, c: Tensor, options: argparse.Namespace) -> Iterator[Tensor]:
    for start in range(0, options.images, options.batch_size):
        seeds = range(start, min(start + options.batch_size, options.images))
        batch = generate_images(G, seeds, psi=1, c=c[seeds.start : seeds.stop], batch_size=options.batch_size)
        yield to_float(batch.to(options.device))


def _real(real: ImageDataset, options: argparse.Namespace) -> Iterator[Tensor]:
    """The first of a fixed shuffle, since archives are often sorted"""
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))[: options.images]
    for indices in torch.split(order, options.batch_size):
        yield to_float(real.batch(indices.tolist())[0].to(options.device))


def _records(columns: dict[str, Shares], levels: Pyramid) -> list[dict[str, str | float]]:
    """A row for each resolution, as in the table"""
    return [
        {"pixels": spelt(levels.size(level))} | {name: shares[res] for name, shares in columns.items()}
        for level, res in enumerate(levels.nominal)
    ]


def _print(columns: dict[str, Shares], levels: Pyramid) -> None:
    table = Table("pixels", *(f"{name}, %" for name in columns))
    for column in table.columns:
        column.justify = "right"
    for level, res in enumerate(levels.nominal):
        table.add_row(spelt(levels.size(level)), *(f"{shares[res]:.1f}" for shares in columns.values()))
    make_console().print(table)
