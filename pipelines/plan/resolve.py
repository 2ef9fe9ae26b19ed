"""Every value of params.yaml for a preset, a resolution and a number of GPUs, with its origin.

The only place that knows "auto": what it finds is plain numbers.
"""

from pathlib import Path

import yaml

from pipelines.params import Params, laid, leaves
from pipelines.plan import narrow, processor
from pipelines.plan.origins import Choice, Choices, as_they_are
from pipelines.plan.shown import sheet_choices
from stylegan.config import ConfigError, parse
from stylegan.config.pyramid import Resolution, sides
from stylegan.config.sections import PrepareConfig
from stylegan.wording import counted

PRESETS = Path(__file__).parent / "presets"
NAMES = ("auto", "stylegan2", "paper256", "paper512", "paper1024", "cifar")
MBSTD_GROUP = 4
BF16_FROM = 256  # pixels of the longer side; docs/precision.md


def preset_choices(name: str) -> tuple[Choices, int | None]:
    """What the preset's files say, and the number of GPUs that its batch size was meant for (None: any)."""
    common = yaml.safe_load((PRESETS / "common.yaml").read_text(encoding="utf-8"))
    own = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
    reference_gpus: int | None = own.pop("reference_gpus", None)
    choices = {path: Choice(value, "every official preset") for path, value in leaves(common)}
    held_out = choices["prepare.holdout_fraction"].value
    choices["prepare.holdout_fraction"] = Choice(
        held_out, "kept from training, for tests of your own; --source sets it by the images"
    )
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


def workers_for(preset: str, gpus: int) -> Choice:
    """A process on each GPU; on a processor one, or for networks made for it one on each core"""
    if gpus:
        return Choice(gpus, "one per GPU")
    if preset != "auto":
        return Choice(1, "no GPU: one process")
    return Choice(narrow.count_workers(), "no GPU: a process of one thread on each core")


def fitted(choices: Choices, reference_gpus: int, gpus: int, workers: int) -> Choices:
    """The preset's batch on this many workers: batch_gpu, and groups that divide it."""
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
        "train.batch_gpu": Choice(batch_gpu, f"batch_size / {counted(batch // batch_gpu, 'piece')}{steps}"),
        "discriminator.mbstd_group_size": group if fitting == group.value else largest,
        "loss.pl_batch_shrink": shrink if batch_gpu >= shrink.value else Choice(batch_gpu, "at most batch_gpu"),
        "cluster.use_gpu": Choice(gpus > 0, f"--gpus {gpus}"),
        **trial_choices(per_trial, gpus),
    }


def trial_choices(per_worker: Choice, gpus: int) -> Choices:
    """A trial of a sweep on each GPU, or on each share of one where the base shares them; none without GPUs"""
    if gpus == 0:
        return {"sweep.gpus_per_worker": Choice(0.0, "--gpus 0")}
    share = per_worker if per_worker.value else Choice(1.0, f"--gpus {gpus}")
    return {
        "sweep.gpus_per_worker": share,
        "sweep.cpus_per_worker": Choice(1.0, "one core for each GPU"),
        "sweep.workers_per_trial": Choice(1, "one GPU for a trial"),
        "sweep.max_concurrent_trials": Choice(max(1, int(gpus / share.value)), f"as many as {gpus} GPUs hold"),
    }


def half_precision(longer_side: int, gpus: int, asked: str | None) -> Choices:
    """The precision that suits the device unless another is asked for, and the clamp of fp16"""
    fp16 = Choice("fp16", "as published: four highest resolutions in half precision")
    bf16 = Choice("bf16", f"from {BF16_FROM} pixels: fp16 can lose G's gradient (docs/precision.md)")
    precision = fp16 if longer_side < BF16_FROM else bf16
    if asked is not None:
        precision = Choice(asked, "asked for")
    elif gpus == 0:
        precision = (
            Choice("bf16", "this processor has bf16 instructions")
            if processor.has_bf16()
            else Choice("fp32", "this processor has no bf16 instructions: fp32 is the fastest")
        )
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
        choices |= auto_choices(longer_side, max(gpus, 1)) | ({} if gpus else narrow.narrow_choices(longer_side))
    batch = choices["train.batch_size"].value
    if batch < gpus:
        raise ConfigError(
            f"preset {preset} has a batch of {batch} images, fewer than {gpus} GPUs. Use --gpus {batch}, or --preset "
            "auto, which sizes the batch for the GPUs."
        )
    choices |= half_precision(longer_side, gpus, precision) | sheet_choices(choices["prepare.resolution"].value)
    workers = workers_for(preset, gpus)
    choices["cluster.num_workers"] = workers
    return choices | fitted(choices, reference_gpus or workers.value, gpus, workers.value)


def checked(choices: Choices) -> Params:
    """Raises ConfigError if the values do not fit together."""
    return parse(Params, laid({}, {path: choice.value for path, choice in choices.items()}), "plan")


def _rounded(value: float) -> float:
    # 0.0002 has no exact binary form; nobody wants its tail in a file.
    return float(f"{value:.8g}")
