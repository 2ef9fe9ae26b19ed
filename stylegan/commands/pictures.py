"""generate, mix, interpolate: pictures and films from a trained generator."""

import argparse
import math
import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from stylegan.commands.arguments import float_list, number_list, positive
from stylegan.commands.drawing import Drawing, add_drawing, open_drawing
from stylegan.config.pyramid import sides
from stylegan.drawing.generate import mix_styles, render_each, render_styles, styles_along, styles_between
from stylegan.drawing.sheets import CELL, save_sheet, scale_to, sheet
from stylegan.drawing.style_files import save_styles
from stylegan.drawing.video import SIDE, check_film, save_film
from stylegan.images import grid, save_image

if TYPE_CHECKING:
    from stylegan.commands.arguments import Commands

S = TypeVar("S", list[int], Tensor)


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
    _add_sheet(one, "sheet.png and strip.png")
    many = add_drawing(
        commands, "mix", mix, "coarse traits of row seeds with styles of column seeds", out="folder for pictures"
    )
    _add_source(many, "--rows", "--rows-w", "1-3", "seeds that give the rest")
    _add_source(many, "--cols", "--cols-w", "4,5", "seeds that give the layers")
    many.add_argument(
        "--layers", type=number_list, required=True, metavar="0-3", help="style layers taken from columns"
    )
    _add_sheet(many, "grid.png")
    walk = add_drawing(
        commands, "interpolate", film, "a film from seed to seed", out="the film, such as walk.mp4 or walk.gif"
    )
    _add_source(walk, "--seeds", "--w", "0-3", "seeds to pass through")
    walk.add_argument("--frames", type=positive, required=True, help="steps from one seed to the next")
    walk.add_argument(
        "--curve", choices=["linear", "spherical", "cubic"], default="linear",
        help="straight, along great arcs, or without a bend at the seeds (linear)",
    )  # fmt: skip
    walk.add_argument("--space", choices=["w", "z"], default="w", help="walk through styles, or latents (w)")
    walk.add_argument("--open", action="store_true", help="end at the last seed instead of returning to the first")
    walk.add_argument(
        "--grid", type=cells, default=(1, 1), metavar="4x2",
        help="several walks at once, columns x rows, through equal shares of the seeds in their order (1x1)",
    )  # fmt: skip
    walk.add_argument("--fps", type=positive, default=30, help="frames per second (30)")
    walk.add_argument(
        "--scale", type=positive, help=f"enlargement of each pixel (as fits into {SIDE} pixels a picture)"
    )


def cells(text: str) -> tuple[int, int]:
    """ "4x2" -> (4, 2), columns and rows. Raises argparse.ArgumentTypeError otherwise."""
    match = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not columns x rows; write them like 4x2")
    return int(match[1]), int(match[2])


def _add_sheet(parser: argparse.ArgumentParser, files: str) -> None:
    help_ = f"enlargement of each pixel in {files} (as fits into {CELL} pixels a picture)"
    parser.add_argument("--scale", type=positive, help=help_)
    parser.add_argument(
        "--captions", action=argparse.BooleanOptionalAction, default=True, help=f"names below the pictures of {files}"
    )


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
    names = [f"{row}-{col}" for row, col in pairs]
    for name, picture in zip(names, pictures, strict=True):
        save_image(picture, options.out / f"{name}.png")
    _save_sheet(pictures, len(cols), names, options, "grid.png")
    return f"{len(rows)} x {len(cols)} mixtures in {options.out}, all of them in grid.png"


def _names(prefix: str, seeds: list[int] | None, num: int) -> list[str]:
    """Name of each picture: its seed, or its place in the file of styles"""
    return [f"w{place:04d}" for place in range(num)] if seeds is None else [f"{prefix}{seed:04d}" for seed in seeds]


def film(options: argparse.Namespace) -> str:
    """One film, of one walk or of several side by side."""
    check_film(options.out, options.fps)
    drawing = open_drawing(options)
    columns, rows = options.grid
    ws = _walks(drawing, options, columns * rows)
    pictures = render_each(drawing.G, ws.flatten(0, 1), batch_size=options.batch_size)
    frames = (grid(torch.stack(cells), columns) for cells in zip(*[pictures] * ws.shape[1], strict=True))
    scale = options.scale or scale_to(min(sides(drawing.G.img_resolution)), SIDE)
    count = save_film(frames, options.out, fps=options.fps, scale=scale)
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
    """Key points for each of num walks, at least two of each. Raises ValueError where they do not divide."""
    each = len(keys) // num
    if num > 1 and (len(keys) % num or each < 2):
        raise ValueError(
            f"a grid of {num} walks needs as many seeds for each, at least two: {len(keys)} seeds were given. "
            f"Give {num * max(2, each)}."
        )
    return [keys[start : start + each] for start in range(0, num * each, each)] if each else [keys]
