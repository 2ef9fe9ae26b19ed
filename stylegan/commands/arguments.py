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

MAX_NUMBERS = 1_000_000  # of a list, such as --seeds; a slip of the finger would fill the memory


def number_list(text: str) -> list[int]:
    """ "0-3,20" -> [0, 1, 2, 3, 20]

    Raises argparse.ArgumentTypeError that shows the form expected.
    """
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10}))?", part.strip())
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise argparse.ArgumentTypeError(f"{part!r} is neither a number nor a range; write numbers like 0-9,20")
        found = range(int(match[1]), int(match[2] or match[1]) + 1)
        if len(numbers) + len(found) > MAX_NUMBERS:
            raise argparse.ArgumentTypeError(f"{text!r} has more than {MAX_NUMBERS} numbers; ask for fewer at a time")
        numbers += found
    return numbers


def float_list(text: str) -> list[float]:
    """ "0,0.5,-1" -> [0.0, 0.5, -1.0]

    Raises argparse.ArgumentTypeError that shows the form expected.
    """
    numbers = [_number(part) for part in text.split(",")]
    for part, number in zip(text.split(","), numbers, strict=True):
        if not math.isfinite(number):
            raise argparse.ArgumentTypeError(f"{part!r} is not a finite number; write numbers like 0,0.5,1")
    return numbers


def finite(text: str) -> float:
    """A number that is neither infinite nor NaN. Raises argparse.ArgumentTypeError otherwise."""
    if not math.isfinite(number := _number(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number; write one like 0.7")
    return number


def above_zero(text: str) -> float:
    """A finite number greater than 0. Raises argparse.ArgumentTypeError otherwise."""
    if not 0 < (number := _number(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number above 0; write one like 0.1")
    return number


def positive(text: str) -> int:
    """A whole number of at least 1. Raises argparse.ArgumentTypeError otherwise."""
    if not _is_whole(text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def seed(text: str) -> int:
    """A whole number from 0 to 4294967295. Raises argparse.ArgumentTypeError otherwise."""
    if not _is_whole(text) or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


def _number(text: str) -> float:
    """What Python reads, NaN for what it cannot"""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _is_whole(text: str) -> bool:
    return text.isdecimal() and len(text) < 20  # longer ones are slow to read, and no option means them


def device(text: str) -> "torch.device":
    """A device that holds tensors here. Raises argparse.ArgumentTypeError otherwise."""
    from stylegan.generators import usable_device  # deferred: --help does not wait for torch

    try:
        return usable_device(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
    parser.add_argument(
        "generator", type=Path, help="generator file, such as models/generator.safetensors, or an official .pkl"
    )


def add_class(parser: argparse._ActionsContainer) -> None:
    """--class, which `class_of` reads"""
    help_ = "class name or index, for a conditional generator; if both match, the name wins"
    parser.add_argument("--class", dest="class_name", metavar="CLASS", help=help_)


def add_computing(parser: argparse.ArgumentParser) -> None:
    """--batch-size, --device and --kernels"""
    parser.add_argument("--batch-size", type=positive, default=16, help="images computed at once (default: 16)")
    parser.add_argument(
        "--device",
        type=device,
        default="cpu",
        help="device to compute on: cpu, cuda, cuda:1 or mps (default: cpu)",
    )
    parser.add_argument(
        "--kernels", choices=typing.get_args(Kernels), default="auto",
        help="on a GPU: auto uses this project's kernels if they run, stock only torch's operations (default: auto)",
    )  # fmt: skip


def cells(text: str) -> tuple[int, int]:
    """ "4x2" -> (4, 2), columns and rows. Raises argparse.ArgumentTypeError otherwise."""
    match = re.fullmatch(r"([1-9]\d{0,2})x([1-9]\d{0,2})", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not columns x rows; write them like 4x2")
    return int(match[1]), int(match[2])
