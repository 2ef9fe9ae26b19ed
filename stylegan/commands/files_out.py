"""export: a trained generator as a file for other runtimes."""

import argparse

from stylegan.export import export_generator
from stylegan.generators import load_any_generator


def export(options: argparse.Namespace) -> str:
    """One file, and FILE.json that describes it."""
    G, names = load_any_generator(options.generator)
    difference = export_generator(G, options.out, options.format, names)
    return f"{options.out} draws what torch draws, with a difference of at most {difference:.1e}"
