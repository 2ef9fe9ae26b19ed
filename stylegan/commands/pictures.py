"""generate, mix, interpolate: pictures and films from a trained generator."""

import argparse
from typing import TYPE_CHECKING

from torch import Tensor

from stylegan.checkpoint import load_generator
from stylegan.commands.arguments import Run, add_command, add_computing, number_list, positive
from stylegan.generate import class_labels, generate_images, interpolate, style_mixing
from stylegan.images import grid, save_png
from stylegan.networks import Generator
from stylegan.video import save_mp4

if TYPE_CHECKING:
    from stylegan.commands.arguments import Commands


def add_commands(commands: "Commands") -> None:
    """generate, mix, interpolate"""
    one = _add(commands, "generate", generate, "one picture for each seed", out="folder for the pictures")
    one.add_argument("--seeds", type=number_list, required=True, metavar="0-9,20")
    one.add_argument("--cutoff", type=positive, help="truncate only so many layers (all)")
    one.add_argument("--noise-mode", choices=["const", "random", "none"], default="const")
    many = _add(
        commands, "mix", mix, "coarse traits of row seeds with styles of column seeds", out="folder for pictures"
    )
    many.add_argument("--rows", type=number_list, required=True, metavar="1-3", help="seeds that give the rest")
    many.add_argument("--cols", type=number_list, required=True, metavar="4,5", help="seeds that give the layers")
    many.add_argument(
        "--layers", type=number_list, required=True, metavar="0-3", help="style layers taken from columns"
    )
    walk = _add(commands, "interpolate", film, "a looping film from seed to seed", out="the film, such as walk.mp4")
    walk.add_argument("--seeds", type=number_list, required=True, metavar="0-3")
    walk.add_argument("--frames", type=positive, required=True, help="steps from one seed to the next")
    walk.add_argument("--fps", type=positive, default=30, help="frames per second (30)")
    walk.add_argument("--scale", type=positive, default=1, help="enlargement of each pixel (1)")


def _add(commands: "Commands", name: str, run: Run, help_: str, *, out: str) -> argparse.ArgumentParser:
    parser = add_command(commands, name, run, help_, out=out)
    parser.add_argument("--psi", type=float, default=1.0, help="truncation: 1 is none, 0 the average picture (1)")
    parser.add_argument("--class", dest="class_index", type=int, help="class of a conditional generator")
    add_computing(parser)
    return parser


def generate(options: argparse.Namespace) -> str:
    """One PNG for each seed."""
    G, c = _open(options)
    images = generate_images(
        G,
        options.seeds,
        psi=options.psi,
        cutoff=options.cutoff,
        noise_mode=options.noise_mode,
        c=c,
        batch_size=options.batch_size,
    )
    for seed, image in zip(options.seeds, images, strict=True):
        save_png(image, options.out / f"seed{seed:04d}.png")
    return f"{len(images)} images in {options.out}"


def mix(options: argparse.Namespace) -> str:
    """One PNG for each pair of row and column, and all of them as a sheet."""
    G, c = _open(options)
    rows, cols, mixed = style_mixing(
        G, options.rows, options.cols, options.layers, psi=options.psi, c=c, batch_size=options.batch_size
    )
    for row, row_seed in enumerate(options.rows):
        for col, col_seed in enumerate(options.cols):
            save_png(mixed[row * len(cols) + col], options.out / f"{row_seed:04d}-{col_seed:04d}.png")
    save_png(grid(mixed, len(cols)), options.out / "grid.png")
    return f"{len(rows)} x {len(cols)} mixtures in {options.out}, all of them in grid.png"


def film(options: argparse.Namespace) -> str:
    """One looping MP4."""
    G, c = _open(options)
    frames = interpolate(G, options.seeds, options.frames, psi=options.psi, c=c, batch_size=options.batch_size)
    count = save_mp4(frames, options.out, fps=options.fps, scale=options.scale)
    return f"{count} frames in {options.out}"


def _open(options: argparse.Namespace) -> tuple[Generator, Tensor]:
    G = load_generator(options.generator).to(options.device)
    return G, class_labels(1, G.c_dim, options.class_index)
