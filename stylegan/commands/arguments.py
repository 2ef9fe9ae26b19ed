"""Types and groups of arguments that several commands share."""

import argparse
import math
import re
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from stylegan.config.sections import Kernels

if TYPE_CHECKING:
    import torch

Centers: TypeAlias = int | Literal["mean", "class"]  # a number of clusters


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


def float_list(text: str) -> list[float]:
    """ "0,0.5,-1" -> [0.0, 0.5, -1.0]

    Raises argparse.ArgumentTypeError that shows the form expected.
    """
    numbers: list[float] = []
    for part in text.split(","):
        try:
            numbers.append(float(part))
        except ValueError:
            numbers.append(math.nan)
        if not math.isfinite(numbers[-1]):
            raise argparse.ArgumentTypeError(f"{part!r} is not a finite number; write numbers like 0,0.5,1")
    return numbers


def positive(text: str) -> int:
    """A whole number of at least 1. Raises argparse.ArgumentTypeError otherwise."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def usable_device(text: str) -> "torch.device":
    """A device that holds tensors here. Raises argparse.ArgumentTypeError otherwise."""
    import torch  # deferred: --help does not wait for it

    try:
        return torch.empty(0, device=text).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be used on this machine ({reason}); cpu always can"
        ) from None


def centers(text: str) -> Centers:
    """ "mean", "class", or "clusters:8" -> 8. Raises argparse.ArgumentTypeError otherwise."""
    if text in ("mean", "class"):
        return "mean" if text == "mean" else "class"
    match = re.fullmatch(r"clusters:([1-9]\d*)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is neither mean, class nor clusters:K with a number, as clusters:8")
    return int(match[1])


def add_out(parser: argparse.ArgumentParser, help_: str) -> None:
    """--out, which every command that writes demands"""
    parser.add_argument("--out", type=Path, required=True, help=help_)


def add_generator(parser: argparse.ArgumentParser) -> None:
    """GENERATOR, which `load_any_generator` reads"""
    parser.add_argument("generator", type=Path, help="weights: models/generator.safetensors, or an official .pkl")


def add_class(parser: argparse._ActionsContainer) -> None:
    """--class, which `class_of` reads"""
    help_ = "class of a conditional generator, by name or number; a name goes first"
    parser.add_argument("--class", dest="class_name", metavar="CLASS", help=help_)


def add_computing(parser: argparse.ArgumentParser) -> None:
    """--batch-size, --device and --kernels"""
    parser.add_argument("--batch-size", type=positive, default=16, help="pictures computed at once (16)")
    parser.add_argument("--device", type=usable_device, default="cpu", help="cpu, cuda, cuda:1, mps (cpu)")
    parser.add_argument(
        "--kernels", choices=typing.get_args(Kernels), default="auto",
        help="on a GPU: this project's kernels where they run, or torch's operations alone (default: auto)",
    )  # fmt: skip
