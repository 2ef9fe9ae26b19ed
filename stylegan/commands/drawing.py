"""What every command that draws needs: a generator, a label, and where truncation pulls to."""

import argparse
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from stylegan.commands.arguments import Run, add_class, add_command, add_computing, finite, float_list, positive, seed
from stylegan.drawing.centers import class_centers, cluster_centers, mean_styles, truncate_towards
from stylegan.drawing.generate import class_labels, label_vector, styles
from stylegan.drawing.style_files import load_styles
from stylegan.generators import class_of, load_any_generator
from stylegan.networks import Generator, truncate

if TYPE_CHECKING:
    from stylegan.commands.arguments import Commands

Centers = int | Literal["mean", "class"]  # a number of clusters


def add_drawing(commands: "Commands", name: str, run: Run, help_: str, *, out: str) -> argparse.ArgumentParser:
    """A command with the options that `open_drawing` reads"""
    parser = add_command(commands, name, run, help_, out=out)
    label = parser.add_mutually_exclusive_group()
    add_class(label)
    label.add_argument("--label", type=float_list, metavar="0,0.5,0.5", help="label number by number")
    parser.add_argument("--psi", type=finite, default=1.0, help="truncation: 1 is none, 0 the average picture (1)")
    parser.add_argument("--cutoff", type=positive, help="truncate only so many layers (all)")
    parser.add_argument(
        "--truncate-towards", type=centers, default="mean", metavar="mean|class|clusters:K",
        help="the mean style, the mean of the class, or the nearest of K cluster centres (mean)",
    )  # fmt: skip
    parser.add_argument("--center-samples", type=positive, default=10000, help="latents behind a centre (10000)")
    parser.add_argument("--center-seed", type=seed, default=0, help="seed of those latents (0)")
    add_computing(parser)
    return parser


def centers(text: str) -> Centers:
    """ "mean", "class", or "clusters:8" -> 8. Raises argparse.ArgumentTypeError otherwise."""
    if text in ("mean", "class"):
        return "mean" if text == "mean" else "class"
    match = re.fullmatch(r"clusters:([1-9]\d*)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is neither mean, class nor clusters:K with a number, as clusters:8")
    return int(match[1])


@dataclass(frozen=True)
class Drawing:
    """A generator as the options ask for it; c [1, c_dim] is None when no class was named."""

    G: Generator
    c: Tensor | None
    class_names: list[str] | None
    options: argparse.Namespace

    def styles(self, seeds: list[int] | None, file: Path | None) -> Tensor:
        """Untruncated styles of seeds, or of a file  ->  [N, L, w_dim]"""
        if file is not None:
            return load_styles(file, self.G.num_ws, self.G.w_dim).to(self.G.mapping.w_avg.device)
        assert seeds is not None, "the parser demands the one or the other"
        return styles(self.G, seeds, self.label())

    def label(self) -> Tensor | None:
        """The class that seeds need, None for an unconditional generator. Raises ValueError when none was named."""
        if self.c is None and self.class_names:
            raise ValueError(f"this generator is conditional. Choose a class: {', '.join(self.class_names)}.")
        return self.c

    def of_class(self, number: int) -> "Drawing":
        """The same with another class"""
        return replace(self, c=class_labels(1, self.G.c_dim, number))

    def pull(self, ws: Tensor, psi: float) -> Tensor:
        """Truncate  [N, L, w_dim] -> [N, L, w_dim]"""
        if self.options.truncate_towards == "mean":
            return truncate(ws, self.G.mapping.w_avg, psi, self.options.cutoff)
        return truncate_towards(ws, self._centers, psi, self.options.cutoff)

    @cached_property
    def _centers(self) -> Tensor:
        options = self.options
        towards, num, seed = options.truncate_towards, options.center_samples, options.center_seed
        if towards != "class":
            return cluster_centers(self.G, num, towards, seed, self.c)
        return class_centers(self.G, num, seed) if self.c is None else mean_styles(self.G, self.c, num, seed)


def open_drawing(options: argparse.Namespace) -> Drawing:
    """Load the generator and choose the label. Raises OSError, ValueError."""
    if options.truncate_towards != "mean" and options.psi == 1 and not getattr(options, "strip", None):
        raise ValueError("--truncate-towards changes nothing at psi 1. Add a smaller one, such as --psi 0.7.")
    G, names = load_any_generator(options.generator)
    G = G.to(options.device)
    c = None
    if options.label is not None:
        c = label_vector(options.label, G.c_dim)
    elif options.class_name is not None:
        c = class_labels(1, G.c_dim, class_of(options.class_name, G, names))
    return Drawing(G, c, names, options)
