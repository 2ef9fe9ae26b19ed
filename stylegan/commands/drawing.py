"""What every command that draws needs: a generator, a label, and where truncation pulls to."""

import argparse
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import Tensor

from stylegan.drawing.centers import class_centers, cluster_centers, mean_styles, truncate_towards
from stylegan.drawing.generate import class_labels, label_vector, styles
from stylegan.drawing.style_files import load_styles
from stylegan.generators import class_of, load_any_generator
from stylegan.networks import Generator, truncate
from stylegan.text import listed


@dataclass(frozen=True)
class Drawing:
    """A generator as the options ask for it; c [1, c_dim] is None if no class was named."""

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
        """The class that seeds need, None for an unconditional generator. Raises ValueError if none was named."""
        if self.c is None and self.class_names:
            raise ValueError(f"this generator is conditional. Choose a class: {listed(self.class_names)}.")
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
