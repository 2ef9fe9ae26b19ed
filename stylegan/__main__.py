"""Draw from a trained generator, find the styles of images, read official network files, export.

python -m stylegan --help
"""

import argparse
import sys
from collections.abc import Sequence

from stylegan.command_line import Parser
from stylegan.commands.table import COMMANDS
from stylegan.exit_codes import exit_code
from stylegan.text import print_lines


def build_parser() -> Parser:
    """All commands and options."""
    parser = Parser(prog="stylegan", description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        one = commands.add_parser(command.name, help=command.about, description=command.about, epilog=command.epilog)
        command.add_options(one)
        one.set_defaults(load=command.load)
    return parser


def prepare(options: argparse.Namespace) -> None:
    """Compute in full float32, and say on stderr which kernels a command uses that computes on a GPU."""
    from stylegan.backends import configure_backends, prepare_device  # deferred: --help does not wait for torch

    if not hasattr(options, "device"):
        configure_backends(allow_tf32=False)
    elif line := prepare_device(options.device, options.kernels, allow_tf32=False):
        print_lines(line, to_stderr=True)


@exit_code
def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and print the line that it returns."""
    options = build_parser().parse_args(arguments)
    run = options.load()
    prepare(options)
    print_lines(*run(options).split("\n"))


if __name__ == "__main__":
    sys.exit(main())
