"""What all commands share: a name, a sentence, an example, and a parser that answers before torch is loaded."""

import argparse
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from stylegan.text import visible

if TYPE_CHECKING:
    import torch


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments, and ends with exit code 2."""

    def __init__(self, **how: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **how)

    def error(self, message: str) -> NoReturn:
        """Print one line instead of the usage."""
        self.exit(2, f"{self.prog}: error: {visible(message)}\n")


@dataclass(frozen=True)
class Command:
    """One command of `stylegan`. Its functions are named by text, so that a list of commands imports none of them."""

    name: str
    about: str  # one sentence
    example: str  # arguments that work, without the command's name
    module: str
    run: str = "main"  # takes the arguments, or the parsed options for a command of stylegan/commands/
    options: str | None = None  # module.function that adds them to a parser; a command without takes no argument
    passes_on: bool = False  # other arguments go to another program

    @property
    def line(self) -> str:
        """The example as one types it"""
        return f"stylegan {self.name} {self.example}".rstrip()

    @property
    def epilog(self) -> str:
        """What --help ends with"""
        return f"example:\n  {self.line}"

    def load(self) -> Callable[..., Any]:
        """The function that does the work"""
        return _named(f"{self.module}.{self.run}")

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add its options to a parser."""
        if self.options is not None:
            _named(self.options)(parser)

    def build_parser(self) -> Parser:
        """A parser of this command alone"""
        parser = Parser(prog=f"stylegan {self.name}", description=self.about, epilog=self.epilog)
        self.add_options(parser)
        return parser

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Options, by default of sys.argv. Exits with code 0 after --help, and 2 when an argument is wrong."""
        parser = self.build_parser()
        return parser.parse_known_args(arguments)[0] if self.passes_on else parser.parse_args(arguments)


def add_json(parser: argparse.ArgumentParser) -> None:
    """--json, of commands whose answer a program may read"""
    parser.add_argument("--json", action="store_true", help="print the answer as JSON, for programs")


def positive(text: str) -> int:
    """A whole number of at least 1. Raises argparse.ArgumentTypeError otherwise."""
    if not is_whole(text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def is_whole(text: str) -> bool:
    """Whether it is a whole number without a sign, which may still be too large"""
    return text.isdecimal() and len(text) < 20  # longer ones are slow to read, and no option means them


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


def _named(path: str) -> Callable[..., Any]:
    module, _, name = path.rpartition(".")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
