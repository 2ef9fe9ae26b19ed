"""generate, mix, interpolate: pictures and films from a trained generator."""

import argparse
import math
from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from stylegan.commands.drawing import Drawing, open_drawing
from stylegan.drawing.generate import mix_styles, render_each, render_styles, styles_along, styles_between
from stylegan.drawing.style_files import save_styles
from stylegan.drawing.video import save_mp4
from stylegan.images import grid, save_image, save_png


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
        save_png(grid(torch.stack(kept), columns), options.out / "sheet.png")
    if options.strip:
        strip = render_styles(drawing.G, table[:, 1:].flatten(0, 1), **how)
        save_png(grid(strip, len(options.strip)), options.out / "strip.png")
    return f"{len(names)} images in {options.out}"


def _styles_by_psi(drawing: Drawing, options: argparse.Namespace) -> tuple[list[str], Tensor]:
    """Names of the pictures, and their styles at --psi and at each psi of the strip  ->  [N, 1 + psis, L, w_dim]"""
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
    for (row, col), picture in zip(pairs, pictures, strict=True):
        save_image(picture, options.out / f"{row}-{col}.png")
    save_png(grid(pictures, len(cols)), options.out / "grid.png")
    return f"{len(rows)} x {len(cols)} mixtures in {options.out}, all of them in grid.png"


def _names(prefix: str, seeds: list[int] | None, num: int) -> list[str]:
    """Name of each picture: its seed, or its place in the file of styles"""
    return [f"w{place:04d}" for place in range(num)] if seeds is None else [f"{prefix}{seed:04d}" for seed in seeds]


def film(options: argparse.Namespace) -> str:
    """One MP4."""
    drawing = open_drawing(options)
    ws = _walk(drawing, options)
    frames = render_each(drawing.G, ws, batch_size=options.batch_size)
    count = save_mp4(frames, options.out, fps=options.fps, scale=options.scale)
    return f"{count} frames in {options.out}"


def _walk(drawing: Drawing, options: argparse.Namespace) -> Tensor:
    """Truncated styles of every frame  ->  [T, L, w_dim]"""
    how = {"curve": options.curve, "loop": not options.open}
    if options.space == "w":
        keys = drawing.pull(drawing.styles(options.seeds, options.w), options.psi)
        return styles_between(drawing.G, keys, options.frames, **how)
    if options.w:
        raise ValueError("a walk through z starts from --seeds; a file holds w. Leave out --space z.")
    if not isinstance(options.truncate_towards, str):
        raise ValueError(
            "a walk through z would jump where its nearest cluster centre changes. Leave out --space z, or truncate "
            "towards mean or class."
        )
    return drawing.pull(styles_along(drawing.G, options.seeds, options.frames, c=drawing.label(), **how), options.psi)
