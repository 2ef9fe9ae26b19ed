"""Command line of the mathematics: pictures and films from a trained generator.

python -m stylegan generate | mix | interpolate --help
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from stylegan.checkpoint import load_generator
from stylegan.generate import class_labels, generate_images, interpolate, style_mixing
from stylegan.images import grid, save_png
from stylegan.networks import Generator
from stylegan.video import save_mp4

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
Command = Callable[[Generator, Tensor, argparse.Namespace], str]


def number_list(text: str) -> list[int]:
    """ "0-3,20" -> [0, 1, 2, 3, 20]

    Raises argparse.ArgumentTypeError that shows the form expected.
    """
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise argparse.ArgumentTypeError(f"{part!r} is neither a number nor a range; write numbers like 0-9,20")
        numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
    return numbers


def positive(text: str) -> int:
    """A whole number of at least 1. Raises argparse.ArgumentTypeError otherwise."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def usable_device(text: str) -> torch.device:
    """A device that holds tensors here. Raises argparse.ArgumentTypeError otherwise."""
    try:
        return torch.empty(0, device=text).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be used on this machine ({reason}); cpu always can"
        ) from None


def generate(G: Generator, c: Tensor, options: argparse.Namespace) -> str:
    """One PNG for each seed."""
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


def mix(G: Generator, c: Tensor, options: argparse.Namespace) -> str:
    """One PNG for each pair of row and column, and all of them as a sheet."""
    rows, cols, mixed = style_mixing(
        G, options.rows, options.cols, options.layers, psi=options.psi, c=c, batch_size=options.batch_size
    )
    for row, row_seed in enumerate(options.rows):
        for col, col_seed in enumerate(options.cols):
            save_png(mixed[row * len(cols) + col], options.out / f"{row_seed:04d}-{col_seed:04d}.png")
    save_png(grid(mixed, len(cols)), options.out / "grid.png")
    return f"{len(rows)} x {len(cols)} mixtures in {options.out}, all of them in grid.png"


def film(G: Generator, c: Tensor, options: argparse.Namespace) -> str:
    """One looping MP4."""
    frames = interpolate(G, options.seeds, options.frames, psi=options.psi, c=c, batch_size=options.batch_size)
    count = save_mp4(frames, options.out, fps=options.fps, scale=options.scale)
    return f"{count} frames in {options.out}"


def build_parser() -> argparse.ArgumentParser:
    """All commands and options."""
    parser = argparse.ArgumentParser(prog="python -m stylegan", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
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
    return parser


def _add(commands: "Commands", name: str, run: Command, help_: str, *, out: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help_, description=help_)
    parser.set_defaults(run=run)
    parser.add_argument("generator", type=Path, help="weights, such as models/generator.safetensors")
    parser.add_argument("--out", type=Path, required=True, help=out)
    parser.add_argument("--psi", type=float, default=1.0, help="truncation: 1 is none, 0 the average picture (1)")
    parser.add_argument("--class", dest="class_index", type=int, help="class of a conditional generator")
    parser.add_argument("--batch-size", type=positive, default=16, help="pictures computed at once (16)")
    parser.add_argument("--device", type=usable_device, default="cpu", help="cpu, cuda, cuda:1, mps (cpu)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status; a user's mistake is one line on stderr."""
    options = build_parser().parse_args(arguments)
    try:
        G = load_generator(options.generator).to(options.device)
        print(options.run(G, class_labels(1, G.c_dim, options.class_index), options))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
