"""generate, mix, interpolate: pictures and films from a trained generator."""

import argparse
import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stylegan.commands.arguments import float_list, number_list, positive
from stylegan.commands.drawing import Drawing, add_drawing, open_drawing
from stylegan.drawing.generate import mix_styles, render_each, render_styles, styles_along, styles_between
from stylegan.drawing.style_files import save_styles
from stylegan.drawing.video import save_mp4
from stylegan.images import grid, save_image, save_png

if TYPE_CHECKING:
    from stylegan.commands.arguments import Commands


def add_commands(commands: "Commands") -> None:
    """generate, mix, interpolate"""
    one = add_drawing(commands, "generate", generate, "one picture for each seed", out="folder for the pictures")
    _add_source(one, "--seeds", "--w", "0-9,20", "seeds")
    one.add_argument(
        "--noise-mode", choices=["const", "random", "none"], default="const",
        help="noise of the layers: the generator's own maps, fresh ones for each picture, or none (const)",
    )  # fmt: skip
    one.add_argument("--every-class", action="store_true", help="each seed in each class of a conditional generator")
    one.add_argument(
        "--sheet", action="store_true", help="also sheet.png, all pictures; with --every-class a row for each class"
    )
    one.add_argument(
        "--strip",
        type=float_list,
        metavar="0,0.5,1",
        help="also strip.png: a row for each seed, a column for each psi; --strip=-1,1 if the first is negative",
    )
    one.add_argument("--save-w", type=Path, help="also the styles drawn, as .npz or .safetensors")
    many = add_drawing(
        commands, "mix", mix, "coarse traits of row seeds with styles of column seeds", out="folder for pictures"
    )
    _add_source(many, "--rows", "--rows-w", "1-3", "seeds that give the rest")
    _add_source(many, "--cols", "--cols-w", "4,5", "seeds that give the layers")
    many.add_argument(
        "--layers", type=number_list, required=True, metavar="0-3", help="style layers taken from columns"
    )
    walk = add_drawing(commands, "interpolate", film, "a film from seed to seed", out="the film, such as walk.mp4")
    _add_source(walk, "--seeds", "--w", "0-3", "seeds to pass through")
    walk.add_argument("--frames", type=positive, required=True, help="steps from one seed to the next")
    walk.add_argument(
        "--curve", choices=["linear", "spherical", "cubic"], default="linear",
        help="straight, along great arcs, or without a bend at the seeds (linear)",
    )  # fmt: skip
    walk.add_argument("--space", choices=["w", "z"], default="w", help="walk through styles, or latents (w)")
    walk.add_argument("--open", action="store_true", help="end at the last seed instead of returning to the first")
    walk.add_argument("--fps", type=positive, default=30, help="frames per second (30)")
    walk.add_argument("--scale", type=positive, default=1, help="enlargement of each pixel (1)")


def _add_source(parser: argparse.ArgumentParser, seeds: str, file: str, metavar: str, help_: str) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(seeds, type=number_list, metavar=metavar, help=help_)
    source.add_argument(file, type=Path, metavar="FILE", help=f"styles of a file instead of {seeds}")


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
