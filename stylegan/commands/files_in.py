"""import: an official network file as a file of this project."""

import argparse

from stylegan.checkpoint import save_networks
from stylegan.files import sha256_of
from stylegan.official import load_official


def import_official(options: argparse.Namespace) -> str:
    """One safetensors file with tensors G.*, D.*, G_ema.* and their configuration; the report is printed."""
    if options.target.suffix != ".safetensors":
        raise ValueError(f"{options.target}: networks are written as .safetensors. Give the target that ending.")
    found = load_official(options.source)
    source = f"official file {options.source.name}, sha256 {sha256_of(options.source)}"
    save_networks(
        options.target, G=found.G, D=found.D, G_ema=found.G_ema, augment_p=found.augment_p, source=source
    )  # fmt: skip
    return f"{found.report}\nwritten: {options.target}"
