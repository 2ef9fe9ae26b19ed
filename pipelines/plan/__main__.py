"""Writes params.yaml for a preset, a resolution and a number of GPUs, and shows where each value comes from.

    python -m pipelines.plan --preset auto --resolution 256 --gpus 2 --source photos train.total_kimg=5000
    python -m pipelines.plan --preset paper256 --gpus 8 --hours 24 --price 2.50 --reference a100
    python -m pipelines.plan --source photos --gpus 0
    python -m pipelines.plan --source photos
    python -m pipelines.plan --from reports/sweep/best.yaml
    python -m pipelines.plan --row stylegan2/A

The only place that knows "auto": what it writes is plain numbers. Values that a preset does not decide keep what
params.yaml says, and so do the comments.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from pipelines.command_table import COMMANDS
from pipelines.options import add_overrides
from pipelines.plan.advice import Changed, advice, describe, table
from pipelines.plan.cost import estimate, summary
from pipelines.plan.planning import Plan, make_plan
from pipelines.plan.resolve import NAMES
from pipelines.plan.yaml_edit import rewrite
from stylegan.command_line import add_json
from stylegan.config.pyramid import Resolution, plain
from stylegan.console import make_console
from stylegan.exit_codes import exit_code
from stylegan.text import print_json
from stylegan.wording import counted


@dataclass(frozen=True)
class Answer:
    """What `plan --json` prints"""

    values: Mapping[str, Changed]  # by dotted path
    advice: Sequence[str]
    estimate: Sequence[estimate.Row] | None  # for each number of GPUs, with --hours
    written: str | None  # the file
    needs: Sequence[str]


def show(found: Plan, console: Console, *, everything: bool) -> list[str]:
    """Print the values, and return the lines on what they mean, which it prints too."""
    console.print(table(found.choices if everything else found.changed, found.base))
    if not everything:
        same = len(found.choices) - len(found.changed)
        console.print(f"{counted(same, 'value stays as it is', 'values stay as they are')}; --all lists them.")
    lines = [*(found.look.lines(found.params) if found.look else []), *advice(found.params)]
    for line in lines:
        console.print(line)
    return lines


def write(found: Plan, options: argparse.Namespace) -> Path | None:
    """Write params.yaml unless it is a dry run or an estimate, and return its path.

    Raises FileExistsError rather than overwrite a file other than the one it started from.
    """
    if options.hours is not None or options.dry_run:
        return None
    out: Path = options.out or options.base
    if out.exists() and not out.samefile(options.base):
        raise FileExistsError(f"{out} exists and is not {options.base}, where values are kept from. Remove it first.")
    rewrite(options.base, out, {path: choice.value for path, choice in found.choices.items()})
    return out


def conclude(found: Plan, options: argparse.Namespace, console: Console) -> tuple[Path | None, list[str]]:
    """Write, say so, and end with what the plan needs; returns the file and these lines."""
    out = write(found, options)
    said = "An estimate (--hours) writes nothing." if options.hours is not None else "Dry run: nothing written."
    if out is not None:
        said = f"Wrote {out}. `git diff {out}` shows the change, `make repro` runs it."
    needs = list(summary.lines(found.params, found.img_channels, found.speed))
    console.print(said, soft_wrap=True)
    for line in needs:
        console.print(line)
    return out, needs


def answer(options: argparse.Namespace, console: Console) -> Answer:
    """Plan, print it, write it, and return what was printed"""
    found = make_plan(options)
    lines, rows = show(found, console, everything=options.all), None
    if options.hours is not None:
        rows = estimate.show(options, found.params, found.img_channels, console)
    out, needs = conclude(found, options, console)
    return Answer(describe(found.choices, found.base), lines, rows, None if out is None else str(out), needs)


def size(text: str) -> Resolution:
    """ "256" or "192x256" (height x width) -> pixels

    Raises argparse.ArgumentTypeError that shows the form expected.
    """
    numbers = text.split("x")
    if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 256, or 192x256 for height and width")
    return plain([int(number) for number in numbers] if len(numbers) == 2 else int(text))


def add_options(parser: argparse.ArgumentParser) -> None:
    """plan"""
    parser.add_argument(
        "--preset", choices=NAMES, help="starting point; needs --gpus (default: auto with --source and --gpus)"
    )
    parser.add_argument(
        "--from",
        dest="values",
        type=Path,
        metavar="FILE",
        help="file of settings that override the preset, such as a sweep's best.yaml",
    )
    parser.add_argument("--row", metavar="LADDER/ROW", help="row of a ladder to plan, such as stylegan2/A")
    parser.add_argument(
        "--resolution",
        type=size,
        help="pixels, or height x width as 192x256 (default: from the preset, the images or --base)",
    )
    parser.add_argument("--gpus", type=int, help="number of GPUs; 0 plans for the CPU")
    parser.add_argument("--source", help="folder, .zip or dataset file of images to look at and choose settings for")
    parser.add_argument(
        "--resume-from", metavar="FILE", help="checkpoint or generator file in pretrained/ to start from"
    )
    parser.add_argument(
        "--base",
        type=Path,
        default=Path("params.yaml"),
        help="settings file that supplies everything the preset does not decide",
    )
    parser.add_argument("--out", type=Path, help="file to write (default: the --base file)")
    estimate.add_options(parser)
    parser.add_argument("--all", action="store_true", help="also show settings that do not change")
    parser.add_argument("--dry-run", action="store_true", help="show the plan without writing it")
    add_json(parser)
    add_overrides(parser)


@exit_code
def main(arguments: Sequence[str] | None = None) -> None:
    """Command line"""
    options = COMMANDS["plan"].parse(arguments)
    wrong = COMMANDS["plan"].build_parser().error
    if options.preset is None and options.gpus is not None and options.source:
        options.preset = "auto"
    if not any((options.preset, options.values, options.row, options.source)):
        wrong("one of the arguments --preset, --source, --from and --row is required")
    if (options.preset is None) != (options.gpus is None) or (options.preset is None and options.resolution):
        wrong("--preset, which --resolution belongs to, and --gpus go together")
    if options.gpus is not None and options.gpus < 0:
        wrong(f"argument --gpus: is {options.gpus}; expected 0 or more")
    console = make_console(stderr=options.json)
    planned = answer(options, console)
    if options.json:
        print_json(asdict(planned))


if __name__ == "__main__":
    sys.exit(main())
