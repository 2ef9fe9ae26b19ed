"""Writes params.yaml for a preset, a resolution and a number of GPUs, and shows where each value comes from.

    python -m pipelines.plan --preset auto --resolution 256 --gpus 2 --source photos train.total_kimg=5000
    python -m pipelines.plan --preset paper256 --gpus 8 --hours 24 --price 2.50 --reference a100
    python -m pipelines.plan --from reports/sweep/best.yaml
    python -m pipelines.plan --rung stylegan2/A

The only place that knows "auto": what it writes is plain numbers. Values that a preset does not decide keep what
params.yaml says, and so do the comments.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from pipelines import estimate
from pipelines.choices import (
    Choice,
    Choices,
    as_they_are,
    file_choices,
    rung_choices,
    source_of,
    transfer_choices,
)
from pipelines.document import rewrite, spelt
from pipelines.params import Params, laid, leaves, load, override
from stylegan.config import ConfigError, parse
from stylegan.pyramid import Resolution, plain, sides
from stylegan.sections import PrepareConfig

PRESETS = Path(__file__).parent / "presets"
NAMES = ("auto", "stylegan2", "paper256", "paper512", "paper1024", "cifar")
# keep: unknown before the images are read; colour is usual
CHANNELS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "keep": 3}
MBSTD_GROUP = 4
GAMMA_FACTORS = (0.25, 0.5, 1, 2, 4)
BF16_FROM = 256  # pixels of the longer side; docs/precision.md


def preset_choices(name: str) -> tuple[Choices, int | None]:
    """What the preset's files say, and the number of GPUs that its batch size was meant for (None: any)."""
    common = yaml.safe_load((PRESETS / "common.yaml").read_text(encoding="utf-8"))
    own = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
    reference_gpus: int | None = own.pop("reference_gpus", None)
    choices = {path: Choice(value, "every official preset") for path, value in leaves(common)}
    return choices | {path: Choice(value, f"preset {name}") for path, value in leaves(own)}, reference_gpus


def auto_choices(resolution: int, gpus: int) -> Choices:
    """Sizes from the resolution (the longer side) and the number of GPUs (Karras et al. 2020a, App. C)."""
    wanted = max(min(gpus * min(4096 // resolution, 32), 64), gpus)
    batch_gpu = wanted // gpus
    # Other than powers of two of GPUs: keep whole groups of minibatch standard deviation.
    batch = gpus * (batch_gpu - batch_gpu % MBSTD_GROUP if batch_gpu > MBSTD_GROUP else batch_gpu)
    rounded = "" if batch == wanted else f"; {wanted} rounded down to suit {gpus} GPUs"
    channel_base = Choice(32768 if resolution >= 512 else 16384, "32768 from 512 pixels, else half")
    lr = Choice(0.002 if resolution >= 1024 else 0.0025, "0.002 from 1024 pixels, else 0.0025")
    return {
        "train.batch_size": Choice(batch, f"gpus x min(4096 / resolution, 32), at most 64{rounded}"),
        "generator.channel_base": channel_base,
        "discriminator.channel_base": channel_base,
        "discriminator.mbstd_group_size": Choice(MBSTD_GROUP, f"at most {MBSTD_GROUP}"),
        "train.g_lr": lr,
        "train.d_lr": lr,
        "loss.r1_gamma": Choice(_rounded(0.0002 * resolution**2 / batch), "0.0002 x resolution^2 / batch_size"),
        "train.ema_kimg": Choice(_rounded(batch * 10 / 32), "10 x batch_size / 32"),
    }


def fitted(choices: Choices, reference_gpus: int, gpus: int) -> Choices:
    """The preset's batch on this many workers: batch_gpu, and groups that divide it."""
    workers = max(gpus, 1)
    batch, group = choices["train.batch_size"].value, choices["discriminator.mbstd_group_size"]
    batch_gpu = micro_batch(batch, batch // max(reference_gpus, workers), workers, group.value)
    rounds = -(-batch // batch_gpu // workers)
    steps = f", {rounds} forward passes a step" if rounds > 1 else ""
    if rounds * batch_gpu * workers > batch:
        steps += f", {rounds * batch_gpu} images on the busiest of {workers} GPUs"
    fitting = max(size for size in range(1, group.value + 1) if batch_gpu % size == 0)
    largest = Choice(fitting, f"largest up to {group.value} that divides batch_gpu")
    shrink, per_trial = choices["loss.pl_batch_shrink"], choices["sweep.gpus_per_worker"]
    return {
        "train.batch_gpu": Choice(batch_gpu, f"batch_size / {batch // batch_gpu} pieces{steps}"),
        "discriminator.mbstd_group_size": group if fitting == group.value else largest,
        "loss.pl_batch_shrink": shrink if batch_gpu >= shrink.value else Choice(batch_gpu, "at most batch_gpu"),
        "cluster.num_workers": Choice(workers, "one per GPU" if gpus else "no GPU: one process"),
        "cluster.use_gpu": Choice(gpus > 0, f"--gpus {gpus}"),
        "sweep.gpus_per_worker": per_trial if gpus and per_trial.value else Choice(float(gpus > 0), f"--gpus {gpus}"),
    }


def half_precision(longer_side: int, gpus: int, asked: str | None) -> Choices:
    """The precision of GPUs unless another is asked for, and the clamp of fp16; a processor has the preset's."""
    fp16 = Choice("fp16", "as published: four highest resolutions in half precision")
    bf16 = Choice("bf16", f"from {BF16_FROM} pixels: fp16 can lose G's gradient (docs/precision.md)")
    precision = fp16 if longer_side < BF16_FROM else bf16
    if asked is not None:
        precision = Choice(asked, "asked for")
    elif gpus == 0:
        return {}
    clamp = Choice(256.0, "as published, to keep fp16 below 65504")
    clamps = {f"{name}.conv_clamp": clamp for name in ("generator", "discriminator")}
    return {"train.precision": precision} | (clamps if precision.value == "fp16" else {})


def micro_batch(batch: int, largest: int, workers: int, group: int) -> int:
    """batch_gpu up to `largest`: of whole groups if one fits, then the least work for the busiest worker"""
    sizes = [size for size in range(1, largest + 1) if batch % size == 0]
    whole = [size for size in sizes if size % group == 0] or sizes
    return min(whole, key=lambda size: (-(-batch // size // workers) * size, -size))


def resolve(
    preset: str, resolution: Resolution | None, gpus: int, base: Params, precision: str | None = None
) -> Choices:
    """Every value of params.yaml with its origin; `precision` is asked for, and its clamp goes with it.

    Raises ConfigError for a resolution that the networks cannot make, or a batch smaller than the number of GPUs.
    """
    kept = as_they_are(base)
    chosen, reference_gpus = preset_choices(preset)
    choices = kept | chosen
    if resolution is not None:
        prepare = parse(PrepareConfig, base.prepare.model_dump() | {"resolution": resolution}, "plan")
        choices["prepare.resolution"] = Choice(prepare.model_dump(mode="json")["resolution"], "--resolution")
    longer_side = max(sides(choices["prepare.resolution"].value))
    if preset == "auto":
        choices |= auto_choices(longer_side, max(gpus, 1))
    batch = choices["train.batch_size"].value
    if batch < gpus:
        raise ConfigError(
            f"preset {preset} has a batch of {batch} images, fewer than {gpus} GPUs. Use --gpus {batch}, or --preset "
            "auto, which sizes the batch for the GPUs."
        )
    choices |= half_precision(longer_side, gpus, precision)
    return choices | fitted(choices, reference_gpus or max(gpus, 1), gpus)


def checked(choices: Choices) -> Params:
    """Raises ConfigError when the values do not fit together."""
    return parse(Params, laid({}, {path: choice.value for path, choice in choices.items()}), "plan")


def parameter_counts(params: Params) -> tuple[int, int]:
    """Parameters of G and D without labels"""
    from pipelines import counts  # deferred: a wrong value is reported before torch is imported

    channels = CHANNELS[params.prepare.mode]
    return counts.parameter_counts(params, resolution=params.prepare.resolution, channels=channels, c_dim=0)


def table(choices: Choices, base: Params) -> Table:
    """Parameter, value, the value before where it differs, and the reason; changed rows are bold."""
    before = dict(leaves(base.model_dump(mode="json")))
    result = Table("parameter", "value", "was", "because", box=SIMPLE, pad_edge=False)
    result.columns[0].no_wrap = True
    for path, choice in choices.items():
        changed = choice.value != before[path]
        was = spelt(before[path]) if changed else ""
        result.add_row(path, spelt(choice.value), was, choice.origin, style="bold" if changed else None)
    return result


def advice(params: Params) -> list[str]:
    """What the numbers mean, and which one is worth a sweep."""
    g_count, d_count = parameter_counts(params)
    steps = round(params.train.total_kimg * 1000 / params.train.batch_size)
    gammas = ", ".join(f"{params.loss.r1_gamma * factor:.4g}" for factor in GAMMA_FACTORS)
    lines = [
        f"G has {g_count:,} parameters, D has {d_count:,} (without labels).",
        f"{params.train.total_kimg:g} kimg are {steps:,} steps of {params.train.batch_size} images.",
    ]
    if params.loss.d_regularizer == "r1":
        best = f"try {gammas} and keep the lowest KID or FID."
        lines.append(f"loss.r1_gamma decides most and no formula knows it: {best}")
    return lines


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
    if options.source is not None:
        choices["prepare.source"] = Choice(source_of(options.source), "--source")
    if options.resume_from is not None:
        choices |= transfer_choices(options.resume_from)
    if options.rung is not None:
        choices |= rung_choices(options.rung, below=checked(choices | ordered))
    params = checked(choices := choices | ordered)
    console.print(table(choices, base))
    for line in advice(params):
        console.print(line)
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
    parser.add_argument("--source", help="folder, .zip or data set file of images")
    parser.add_argument("--resume-from", metavar="FILE", help="networks in pretrained/ to start from")
    parser.add_argument("--base", type=Path, default=Path("params.yaml"), help="where undecided values come from")
    parser.add_argument("--out", type=Path, help="file to write, otherwise the base itself")
    estimate.add_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="show, write nothing")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    options = parser.parse_args(arguments)
    if options.preset is None and options.values is None and options.rung is None:
        parser.error("one of the arguments --preset, --from and --rung is required")
    if (options.preset is None) != (options.gpus is None) or (options.preset is None and options.resolution):
        parser.error("--preset, which --resolution belongs to, and --gpus go together")
    if options.gpus is not None and options.gpus < 0:
        parser.error(f"argument --gpus: is {options.gpus}; expected 0 or more")
    try:
        # Piped output has no width; 80 columns would fold the table.
        plan(options, Console(width=None if sys.stdout.isatty() else 130))
    except (ConfigError, OSError) as error:
        sys.exit(str(error))


def _rounded(value: float) -> float:
    # 0.0002 has no exact binary form; nobody wants its tail in a file.
    return float(f"{value:.8g}")


if __name__ == "__main__":
    main()
