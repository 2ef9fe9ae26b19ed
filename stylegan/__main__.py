"""Draw from a trained generator, find the styles of pictures, read official network files, export.

python -m stylegan --help
"""

import argparse
import sys
from collections.abc import Sequence

from stylegan.backends import configure_backends, prepare_device
from stylegan.commands import analysis, files_in, files_out, pictures, projection

FAMILIES = (pictures, projection, files_in, files_out, analysis)


def build_parser() -> argparse.ArgumentParser:
    """All commands and options."""
    parser = argparse.ArgumentParser(prog="python -m stylegan", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for family in FAMILIES:
        family.add_commands(commands)
    return parser


def prepare(options: argparse.Namespace) -> None:
    """Compute in full float32, and say on stderr which kernels a command uses that computes on a GPU."""
    if not hasattr(options, "device"):
        configure_backends(allow_tf32=False)
    elif line := prepare_device(options.device, options.kernels, allow_tf32=False):
        print(line, file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status; a user's mistake is one line on stderr."""
    options = build_parser().parse_args(arguments)
    prepare(options)
    try:
        print(options.run(options))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
