"""generate, mix, interpolate: images and videos from a trained generator."""

import argparse
import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import TypeVar

import torch
from torch import Tensor

from stylegan.commands.drawing import Drawing, open_drawing
from stylegan.config.pyramid import sides
from stylegan.drawing.generate import mix_styles, render_each, render_styles, styles_along, styles_between
from stylegan.drawing.sheets import CELL, save_sheet, scale_to, sheet
from stylegan.drawing.style_files import save_styles
from stylegan.drawing.video import SIDE, check_video, save_video
from stylegan.images import grid, save_image

S = TypeVar("S", list[int], Tensor)


def generate(options: argparse.Namespace) -> str:
    """One PNG for each seed, and what else was asked for."""
    drawing = open_drawing(options)
    names, table = _styles_by_psi(drawing, options)
    ws = table[:, 0]
    if options.save_w:
        save_styles(ws, options.save_w)
    how = {"batch_size": options.batch_size, "noise_mode": options.noise_mode}
    kept = []
    for name, picture in zip(names, render_each(drawing.G, ws, **how), strict=True):
        save_image(picture, options.out / f"{name}.png")
        kept += [picture] if options.sheet else []
    if options.sheet:
        columns = len(ws) // drawing.G.c_dim if options.every_class else math.ceil(math.sqrt(len(ws)))
        _save_sheet(torch.stack(kept), columns, names, options, "sheet.png")
    if options.strip:
        strip = render_styles(drawing.G, table[:, 1:].flatten(0, 1), **how)
        captions = [f"{name}, psi {psi:g}" for name in names for psi in options.strip]
        _save_sheet(strip, len(options.strip), captions, options, "strip.png")
    return f"{len(names)} images in {options.out}"


def _save_sheet(img: Tensor, columns: int, captions: Sequence[str], options: argparse.Namespace, name: str) -> None:
    scale = options.scale or scale_to(min(img.shape[2:]), CELL)
    save_sheet(sheet(img, columns, scale, captions if options.captions else ()), options.out / name)


def _styles_by_psi(drawing: Drawing, options: argparse.Namespace) -> tuple[list[str], Tensor]:
    """Names of the images, and their styles at --psi and at each psi of the strip  ->  [N, 1 + psis, L, w_dim]"""
    psis = [options.psi, *(options.strip or [])]
    names, tables = [], []
    for prefix, one in _each_class(drawing) if options.every_class else [("", drawing)]:
        ws = one.styles(options.seeds, options.w)
        names += [prefix + name for name in _names("seed", options.seeds, len(ws))]
        tables.append(torch.stack([one.pull(ws, psi) for psi in psis], dim=1))
    return names, torch.cat(tables)


def _each_class(drawing: Drawing) -> Iterator[tuple[str, Drawing]]:
    if drawing.c is not None or drawing.options.w:
        raise ValueError("--every-class draws all classes of seeds. Leave out --class, --label and --w.")
    if drawing.G.c_dim == 0:
        raise ValueError("this generator is unconditional and has no classes. Leave --every-class out.")
    for number in range(drawing.G.c_dim):
        yield f"class{number:02d}-", drawing.of_class(number)


def mix(options: argparse.Namespace) -> str:
    """One PNG for each pair of row and column, and all of them as a sheet."""
    drawing = open_drawing(options)
    rows = drawing.pull(drawing.styles(options.rows, options.rows_w), options.psi)
    cols = drawing.pull(drawing.styles(options.cols, options.cols_w), options.psi)
    mixed = mix_styles(rows, cols, options.layers).flatten(0, 1)
    pictures = render_styles(drawing.G, mixed, batch_size=options.batch_size)
    pairs = product(_names("", options.rows, len(rows)), _names("", options.cols, len(cols)))
    names = [f"{row}-{col}" for row, col in pairs]
    for name, picture in zip(names, pictures, strict=True):
        save_image(picture, options.out / f"{name}.png")
    _save_sheet(pictures, len(cols), names, options, "grid.png")
    return f"{len(rows)} x {len(cols)} mixtures in {options.out}, all of them in grid.png"


def _names(prefix: str, seeds: list[int] | None, num: int) -> list[str]:
    """Name of each image: its seed, or its place in the file of styles"""
    return [f"w{place:04d}" for place in range(num)] if seeds is None else [f"{prefix}{seed:04d}" for seed in seeds]


def interpolate(options: argparse.Namespace) -> str:
    """One video, of one walk or of several side by side."""
    check_video(options.out, options.fps)
    drawing = open_drawing(options)
    columns, rows = options.grid
    ws = _walks(drawing, options, columns * rows)
    pictures = render_each(drawing.G, ws.flatten(0, 1), batch_size=options.batch_size)
    frames = (grid(torch.stack(cells), columns) for cells in zip(*[pictures] * ws.shape[1], strict=True))
    scale = options.scale or scale_to(min(sides(drawing.G.img_resolution)), SIDE)
    count = save_video(frames, options.out, fps=options.fps, scale=scale)
    return f"{count} frames in {options.out}"


def _walks(drawing: Drawing, options: argparse.Namespace, num: int) -> Tensor:
    """Truncated styles of every frame of several walks  ->  [T, num, L, w_dim]

    Raises ValueError unless the seeds can be dealt out evenly.
    """
    how = {"curve": options.curve, "loop": not options.open}
    if options.space == "w":
        keys = drawing.pull(drawing.styles(options.seeds, options.w), options.psi)
        walks = [styles_between(drawing.G, part, options.frames, **how) for part in _shares(keys, num)]
        return torch.stack(walks, dim=1)
    if options.w:
        raise ValueError("a walk through z starts from --seeds; a file holds w. Leave out --space z.")
    if not isinstance(options.truncate_towards, str):
        raise ValueError(
            "a walk through z would jump where its nearest cluster centre changes. Leave out --space z, or truncate "
            "towards mean or class."
        )
    walks = [
        drawing.pull(styles_along(drawing.G, part, options.frames, c=drawing.label(), **how), options.psi)
        for part in _shares(options.seeds, num)
    ]
    return torch.stack(walks, dim=1)


def _shares(keys: S, num: int) -> list[S]:
    """Key points for each of num walks, at least two of each. Raises ValueError if they do not divide."""
    each = len(keys) // num
    if num > 1 and (len(keys) % num or each < 2):
        raise ValueError(
            f"a grid of {num} walks needs as many seeds for each, at least two: {len(keys)} seeds were given. "
            f"Give {num * max(2, each)}."
        )
    return [keys[start : start + each] for start in range(0, num * each, each)] if each else [keys]
