"""import: an official network file as a file of this project."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from stylegan.checkpoint import save_networks
from stylegan.files import sha256_of
from stylegan.official import load_official

if TYPE_CHECKING:
    from stylegan.commands.arguments import Commands


def add_commands(commands: "Commands") -> None:
    """import"""
    help_ = "an official network file (.pkl), read without executing it, as safetensors"
    parser = commands.add_parser("import", help=help_, description=help_)
    parser.set_defaults(run=import_official)
    parser.add_argument("source", type=Path, metavar="network.pkl", help="G, D and G_ema, or G_ema alone")
    parser.add_argument("target", type=Path, metavar="networks.safetensors", help="the file to write")


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
