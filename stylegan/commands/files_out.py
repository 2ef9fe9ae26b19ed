"""export: a trained generator as a file for other runtimes."""

import argparse
from typing import TYPE_CHECKING

from stylegan.commands.arguments import add_command
from stylegan.export import export_generator
from stylegan.generators import load_any_generator

if TYPE_CHECKING:
    from stylegan.commands.arguments import Commands


def add_commands(commands: "Commands") -> None:
    """export"""
    parser = add_command(commands, "export", export, "a generator for other runtimes", out="the file to write")
    parser.add_argument(
        "--format", choices=["safetensors", "onnx", "torch"], required=True,
        help="weights; ONNX; or a program of torch.export, usually called .pt2",
    )  # fmt: skip


def export(options: argparse.Namespace) -> str:
    """One file, and FILE.json that describes it."""
    G, names = load_any_generator(options.generator)
    difference = export_generator(G, options.out, options.format, names)
    return f"{options.out} draws what torch draws, with a difference of at most {difference:.1e}"
