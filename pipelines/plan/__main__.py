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
from typing import TYPE_CHECKING

from rich.console import Console

from pipelines.params import leaves, load, override
from pipelines.plan.advice import CHANNELS, advice, table
from pipelines.plan.cost import estimate
from pipelines.plan.origins import Choice, Choices, as_they_are, file_choices, rung_choices, source_of, transfer_choices
from pipelines.plan.resolve import NAMES, checked, resolve
from pipelines.plan.yaml_edit import rewrite
from stylegan.config import ConfigError
from stylegan.config.pyramid import Resolution, plain

if TYPE_CHECKING:
    from pipelines.plan.source import Look


def plan(options: argparse.Namespace, console: Console) -> None:
    """Resolve, show, and write unless it is a dry run.

    Raises ConfigError, or FileExistsError rather than overwrite a file other than the one it started from.
    """
    base = load(options.base)
    values = {} if options.values is None else file_choices(options.values, base)
    ordered = {path: Choice(value, "command line") for path, value in leaves(override({}, options.overrides))}
    choices = as_they_are(base)
    if options.preset is not None:
        precision = (values | ordered).get("train.precision", Choice(None, "left to the plan")).value
        choices = resolve(options.preset, options.resolution, options.gpus, base, precision)
    choices |= values
    look = None if options.source is None else look_at_source(options.source, choices, asked=values | ordered)
    choices |= look.choices if look else {}
    if options.resume_from is not None:
        choices |= transfer_choices(options.resume_from)
    if options.rung is not None:
        choices |= rung_choices(options.rung, below=checked(choices | ordered))
    params = checked(choices := choices | ordered)
    console.print(table(choices, base))
    for line in [*(look.lines(params) if look else []), *advice(params)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if options.hours is not None:
        estimate.show(options, params, CHANNELS[params.prepare.mode], console)
        return
    if options.dry_run:
        console.print("Dry run: nothing written.")
        return
    out = options.out or options.base
    if out.exists() and not out.samefile(options.base):
        raise FileExistsError(f"{out} exists and is not {options.base}, where values are kept from. Remove it first.")
    rewrite(options.base, out, {path: choice.value for path, choice in choices.items()})
    console.print(f"Wrote {out}. `git diff {out}` shows the change, `dvc repro` runs it.")


def look_at_source(path: str, choices: Choices, asked: Choices) -> "Look":
    """As pipelines.plan.source.look_at, which imports torch: that there is nothing to look at is reported before."""
    path = source_of(path)
    from pipelines.plan.source import look_at

    return look_at(path, choices, asked)


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
        # Piped output has no width; 80 columns would fold the table.
        plan(options, Console(width=None if sys.stdout.isatty() else 130))
    except (ConfigError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
