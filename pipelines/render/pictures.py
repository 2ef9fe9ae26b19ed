"""Sheets and video of the report: samples, real images as they are and as D saw them, and the latent space."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from pipelines.artifacts.metrics_json import MetricsReport
from pipelines.drawing.sheets import labelled_sheet, opaque, png_of
from pipelines.params import Params
from pipelines.render.latent_pictures import (
    mixing_sheet,
    noise_sheet,
    truncation_sheet,
    walk_frames,
    walk_keys,
    walk_sheet,
)
from pipelines.render.report_page import Pictures
from stylegan.analysis.contributions import band_energies
from stylegan.augment import AugmentPipe, diffaugment
from stylegan.data import ImageDataset
from stylegan.drawing.generate import generate_images
from stylegan.drawing.sheets import sheet
from stylegan.drawing.video import save_mp4
from stylegan.files import replacing
from stylegan.images import to_float, to_uint8
from stylegan.networks import Generator


@dataclass(frozen=True)
class Found:
    """What the stages before left for the pictures."""

    results: MetricsReport
    p: float  # of augmentation at the end of the training
    neighbors: bytes | None  # None if no copies were looked for
    realism: bytes | None  # None if no image was judged


def draw_pictures(params: Params, G: Generator, dataset: ImageDataset, reports: Path, found: Found) -> Pictures:
    """Everything that shows images, written to reports/ and returned as bytes.

    A conditional generator gets the labels of the real images shown, so both sheets hold the same classes.
    """
    config = params.render
    reals, c = choose_reals(dataset, config.num_seeds, params.evaluate.seed)
    keys = walk_keys(params, G, dataset, found.results)
    sheets = {
        "reals": labelled_sheet(reals, sheet_columns(len(reals)), config.video_scale),
        "augmented": augmented_sheet(params, reals, found.p),
        "samples": samples_sheet(params, G, c),
        "truncation": truncation_sheet(params, G, labels_for(c, config.strip_num_seeds)),
        "mixing": mixing_sheet(params, G, c),
        "noise": noise_sheet(params, G, labels_for(c, len(config.mixing_rows))),
        "walk": walk_sheet(params, G, keys),
    }
    pngs = {name: write(reports / f"{name}.png", png_of(sheet)) for name, sheet in sheets.items()}
    frames = walk_frames(params, G, keys)
    save_mp4(frames, reports / "interpolation.mp4", fps=config.video_fps, scale=config.video_scale)
    return Pictures(
        **pngs, film=(reports / "interpolation.mp4").read_bytes(), neighbors=found.neighbors, realism=found.realism
    )


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
    captions = [str(seed) for seed in range(config.num_seeds)]
    return opaque(sheet(images, sheet_columns(len(images)), config.video_scale, captions))


def augmented_sheet(params: Params, reals: Tensor, p: float) -> Image:
    """Real images uint8 [N, C, H, W] as D saw them at the end; a copy of them where nothing augments"""
    columns = sheet_columns(len(reals))
    reals = reals[: 2 * columns]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(params.evaluate.seed)
        if params.augment.mode == "diffaugment":
            img = diffaugment(to_float(reals), params.augment.diffaugment)
        else:
            img = AugmentPipe(params.augment.multipliers)(to_float(reals), p) if p > 0 else to_float(reals)
    return labelled_sheet(to_uint8(img), columns, params.render.video_scale)


def write(path: Path, content: bytes) -> bytes:
    """Write a file whole, and pass its content on."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return content
