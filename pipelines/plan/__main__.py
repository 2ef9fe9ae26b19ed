"""Writes params.yaml for a preset, a resolution and a number of GPUs, and shows where each value comes from.

    python -m pipelines.plan --preset auto --resolution 256 --gpus 2 --source photos train.total_kimg=5000
    python -m pipelines.plan --preset paper256 --gpus 8 --hours 24 --price 2.50 --reference a100
    python -m pipelines.plan --source photos
    python -m pipelines.plan --from reports/sweep/best.yaml
    python -m pipelines.plan --rung stylegan2/A

The only place that knows "auto": what it writes is plain numbers. Values that a preset does not decide keep what
params.yaml says, and so do the comments.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pipelines.plan.advice import advice, table
from pipelines.plan.cost import estimate, summary
from pipelines.plan.planning import Plan, make_plan
from pipelines.plan.resolve import NAMES
from pipelines.plan.yaml_edit import rewrite
from stylegan.commands.console import make_console
from stylegan.config import ConfigError
from stylegan.config.pyramid import Resolution, plain


def show(found: Plan, options: argparse.Namespace, console: Console) -> None:
    """Print the values, what they mean, and what they need."""
    console.print(table(found.choices if options.all else found.changed, found.base))
    if not options.all:
        console.print(f"{len(found.choices) - len(found.changed)} values stay as they are; --all lists them.")
    for line in [*(found.look.lines(found.params) if found.look else []), *advice(found.params)]:
        console.print(line)
    if options.hours is not None:
        estimate.show(options, found.params, found.img_channels, console)


def write(found: Plan, options: argparse.Namespace) -> str:
    """Write params.yaml unless it is a dry run or an estimate, and return what to say of it.

    Raises FileExistsError rather than overwrite a file other than the one it started from.
    """
    if options.hours is not None:
        return "An estimate (--hours) writes nothing."
    if options.dry_run:
        return "Dry run: nothing written."
    out = options.out or options.base
    if out.exists() and not out.samefile(options.base):
        raise FileExistsError(f"{out} exists and is not {options.base}, where values are kept from. Remove it first.")
    rewrite(options.base, out, {path: choice.value for path, choice in found.choices.items()})
    return f"Wrote {out}. `git diff {out}` shows the change, `make repro` runs it."


def size(text: str) -> Resolution:
    """ "256" or "192x256" (height x width) -> pixels

    Raises argparse.ArgumentTypeError that shows the form expected.
    """
    numbers = text.split("x")
    if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 256, or 192x256 for height and width")
    return plain([int(number) for number in numbers] if len(numbers) == 2 else int(text))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; exits with the message of whatever does not fit."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.plan", description=__doc__.split("\n")[0])
    parser.add_argument("--preset", choices=NAMES, help="needs --gpus")
    parser.add_argument("--from", dest="values", type=Path, metavar="FILE", help="values over the preset: best.yaml")
    parser.add_argument("--rung", metavar="LADDER/ROW", help="a row of pipelines/ladders/, such as stylegan2/A")
    parser.add_argument(
        "--resolution", type=size, help="pixels, or height x width as 192x256; without it the preset's, or the base's"
    )
    parser.add_argument("--gpus", type=int, help="0 plans for the processor")
    parser.add_argument("--source", help="folder, .zip or data set file of images, which is looked at")
    parser.add_argument("--resume-from", metavar="FILE", help="networks in pretrained/ to start from")
    parser.add_argument("--base", type=Path, default=Path("params.yaml"), help="where undecided values come from")
    parser.add_argument("--out", type=Path, help="file to write, otherwise the base itself")
    estimate.add_options(parser)
    parser.add_argument("--all", action="store_true", help="show values that stay as they are, too")
    parser.add_argument("--dry-run", action="store_true", help="show, write nothing")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    options = parser.parse_args(arguments)
    if not any((options.preset, options.values, options.rung, options.source)):
        parser.error("one of the arguments --preset, --source, --from and --rung is required")
    if (options.preset is None) != (options.gpus is None) or (options.preset is None and options.resolution):
        parser.error("--preset, which --resolution belongs to, and --gpus go together")
    if options.gpus is not None and options.gpus < 0:
        parser.error(f"argument --gpus: is {options.gpus}; expected 0 or more")
    try:
        found, console = make_plan(options), make_console()
        show(found, options, console)
        console.print(write(found, options), soft_wrap=True)
        for line in summary.lines(found.params, found.img_channels, found.speed):
            console.print(line)
    except (ConfigError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
