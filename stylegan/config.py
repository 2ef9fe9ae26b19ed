"""Frozen, strict sections of the configuration, and the errors that name a bad value and its remedy.

Owns the shape of params.yaml as far as mathematics needs it. Nothing has a default: params.yaml is the only home of
numbers. Does not import torch, so a typo is reported in a fraction of a second.
"""

import difflib
from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator
from pydantic_core import ErrorDetails

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Resolution = Annotated[int, Field(ge=4)]
# YAML knows lists only, so a tuple of numbers is the one coercion.
Floats = Annotated[tuple[float, ...], Strict(False)]
Ints = Annotated[tuple[int, ...], Strict(False)]


class ConfigError(ValueError):
    """A value in the configuration cannot be used; the message says where, why, and what to do."""


class Section(BaseModel):
    """Base of every section: immutable, unknown keys refused, no coercion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class PrepareConfig(Section):
    """How image files become the archive (stage `prepare`)."""

    source: str  # "earth" (built in), or a folder, zip, official dataset, cifar-10-python.tar.gz, *-idx3-ubyte.gz
    resolution: Resolution  # side of the square images, pixels
    transform: Literal["none", "center-crop", "center-crop-wide"]
    resize_filter: Literal["box", "lanczos"]
    mode: Literal["keep", "L", "RGB", "RGBA"]
    labels: Literal["none", "folders", "file"]  # sub-folders as classes, or the source's own dataset.json / label files
    bad_files: Literal["skip", "fail"]
    holdout_fraction: Annotated[float, Field(ge=0, lt=1)]
    max_images: Count | None
    seed: int  # of the subset and of the split

    @model_validator(mode="after")
    def _resolution_is_power_of_two(self) -> Self:
        if self.resolution & (self.resolution - 1):
            lower = 2 ** (self.resolution.bit_length() - 1)
            raise ValueError(
                f"resolution is {self.resolution}; the networks double 4 pixels, so it must be a power of two. "
                f"Set prepare.resolution to {lower} or {2 * lower}."
            )
        return self


class DataConfig(Section):
    """How training reads the archive."""

    use_labels: bool
    xflip: bool  # doubles the set with mirrored images
    max_images: Count | None  # subset of the train split


class GeneratorConfig(Section):
    """Mapping and synthesis networks (Karras et al. 2020, Fig. 2 and 7)."""

    architecture: Literal["orig", "skip", "resnet"]
    z_dim: Count
    w_dim: Count
    mapping_layers: Annotated[int, Field(ge=0)]
    mapping_lr_multiplier: Positive
    channel_base: Count  # channels(res) = min(channel_base / res, channel_max)
    channel_max: Count
    conv_clamp: Positive | None
    w_avg_beta: Probability


class DiscriminatorConfig(Section):
    """Discriminator with minibatch standard deviation."""

    architecture: Literal["orig", "skip", "resnet"]
    mapping_layers: Annotated[int, Field(ge=0)]
    mapping_lr_multiplier: Positive
    channel_base: Count
    channel_max: Count
    conv_clamp: Positive | None
    mbstd_group_size: Count
    mbstd_num_channels: Annotated[int, Field(ge=0)]


class MultipliersConfig(Section):
    """Probability multiplier of every transform: each is applied with probability multiplier * p."""

    xflip: NonNegative
    rotate90: NonNegative
    xint: NonNegative
    scale: NonNegative
    rotate: NonNegative
    aniso: NonNegative
    xfrac: NonNegative
    brightness: NonNegative
    contrast: NonNegative
    lumaflip: NonNegative
    hue: NonNegative
    saturation: NonNegative
    imgfilter: NonNegative
    noise: NonNegative
    cutout: NonNegative


class AugmentConfig(Section):
    """Discriminator augmentation (Karras et al. 2020a, Sec. 3)."""

    mode: Literal["none", "fixed", "ada"]
    p: Probability  # the probability itself when fixed, its start when adaptive
    p_max: Probability  # leaks become likely above 0.8
    ada_target: Annotated[float, Field(ge=-1, le=1)]  # of r_t = E[sign(D(real))]
    ada_interval: Count  # batches between adjustments
    ada_kimg: Positive  # kimg in which p can move by 1
    multipliers: MultipliersConfig


class LossConfig(Section):
    """Non-saturating loss with lazy R1 and path length regularisation."""

    r1_gamma: NonNegative
    d_reg_interval: Count  # batches
    pl_weight: NonNegative
    pl_batch_shrink: Count
    pl_decay: Probability
    g_reg_interval: Count  # batches
    style_mixing_prob: Probability


class TrainConfig(Section):
    """Length, batch, optimisers, averaging and reporting of a run (stage `train`)."""

    seed: int
    total_kimg: Positive
    batch_size: Count  # images per step over all processes
    batch_gpu: Count  # images per forward pass in one process
    g_lr: Positive
    d_lr: Positive
    adam_betas: Annotated[tuple[Probability, Probability], Strict(False)]
    adam_eps: Positive
    ema_kimg: Positive  # half-life of G_ema
    ema_rampup: Positive | None  # half-life is at most this fraction of cur_nimg
    tick_kimg: Positive
    snapshot_ticks: Count
    precision: Literal["fp32", "bf16"]


class EvaluateConfig(Section):
    """What is measured (stage `evaluate`)."""

    extractor: Literal["efficientnet_lite0", "random"]  # random needs no download and is no FID
    extractor_input_size: Annotated[int, Field(ge=8)]  # side of the square it sees, pixels; part of the metric
    num_images: Annotated[int, Field(ge=2)]  # generated images per measurement
    batch_size: Count
    seed: Annotated[int, Field(ge=0)]  # of latents, labels, noise and subsets, the same for every psi
    truncation_psi: Annotated[Floats, Field(min_length=1)]
    truncation_cutoff: Count | None
    kid_num_subsets: Count
    kid_subset_size: Annotated[int, Field(ge=2)]
    pr_neighbors: Count
    ppl_network: Literal["lpips_vgg16", "random"]  # random needs no download and is no LPIPS
    ppl_num_pairs: Annotated[int, Field(ge=2)]
    ppl_epsilon: Positive

    @model_validator(mode="after")
    def _untruncated_is_measured(self) -> Self:
        if 1.0 not in self.truncation_psi:
            raise ValueError(
                f"truncation_psi is {list(self.truncation_psi)} and lacks 1.0, the untruncated generator that the "
                "headline numbers describe. Add 1.0 to evaluate.truncation_psi."
            )
        return self


class RenderConfig(Section):
    """What is drawn (stage `render`)."""

    num_seeds: Count
    truncation_psi: float
    psi_strip: Annotated[Floats, Field(min_length=2)]
    strip_num_seeds: Count
    mixing_rows: Annotated[Ints, Field(min_length=1)]  # seeds that give the coarse source
    mixing_cols: Annotated[Ints, Field(min_length=1)]  # seeds that give the styles
    mixing_layers: Annotated[Ints, Field(min_length=1)]  # indices into ws taken from the column
    interpolation_seeds: Annotated[Ints, Field(min_length=2)]
    interpolation_frames: Annotated[int, Field(ge=2)]  # per pair of seeds
    video_fps: Count
    video_scale: Count  # integer enlargement of pictures meant for the eye


class Config(Section):
    """Everything that decides what is computed."""

    prepare: PrepareConfig
    data: DataConfig
    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    augment: AugmentConfig
    loss: LossConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    render: RenderConfig

    @model_validator(mode="after")
    def _batches_fit(self) -> Self:
        check_batches(self, num_workers=1)
        if self.evaluate.kid_subset_size > self.evaluate.num_images:
            raise ValueError(
                f"evaluate.kid_subset_size is {self.evaluate.kid_subset_size} but only {self.evaluate.num_images} images "
                "are generated. Lower evaluate.kid_subset_size or raise evaluate.num_images."
            )
        if self.augment.p > self.augment.p_max:
            raise ValueError(
                f"augment.p starts at {self.augment.p}, above its cap augment.p_max = {self.augment.p_max}. "
                "Lower augment.p or raise augment.p_max."
            )
        return self


def check_batches(config: Config, num_workers: int) -> None:
    """Check that batch_size = num_workers x rounds x batch_gpu suits the layers that need whole groups.

    Raises ValueError with the remedy.
    """
    batch_size, batch_gpu = config.train.batch_size, config.train.batch_gpu
    if batch_size % (num_workers * batch_gpu):
        chunk = num_workers * batch_gpu
        raise ValueError(
            f"train.batch_size is {batch_size}, not a multiple of {num_workers} worker(s) x train.batch_gpu {batch_gpu} "
            f"= {chunk}. Set train.batch_size to {max(batch_size // chunk, 1) * chunk}, or change train.batch_gpu."
        )
    group = min(config.discriminator.mbstd_group_size, batch_gpu)
    if batch_gpu % group:
        raise ValueError(
            f"train.batch_gpu is {batch_gpu}, not a multiple of discriminator.mbstd_group_size {group}. "
            f"Set train.batch_gpu to {batch_gpu // group * group}, or lower the group size."
        )
    if config.loss.pl_weight > 0 and batch_gpu < config.loss.pl_batch_shrink:
        raise ValueError(
            f"train.batch_gpu is {batch_gpu}, below loss.pl_batch_shrink {config.loss.pl_batch_shrink}: path length "
            f"would see no image. Set loss.pl_batch_shrink to at most {batch_gpu}, or loss.pl_weight to 0."
        )


S = TypeVar("S", bound=Section)


def parse(model: type[S], values: Mapping[str, object], where: str) -> S:
    """Build a section from plain values.

    Raises ConfigError that lists every problem with its dotted path, and suggests the nearest name for an unknown key.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [f"{where}: {_explain(model, problem)}" for problem in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _explain(model: type[Section], problem: ErrorDetails) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _names_at(model, problem["loc"][:-1])
        nearest = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known keys: {', '.join(sorted(known))}"
        return f"{path} is not a parameter; {hint}"
    if problem["type"] == "missing":
        return f"{path} is missing; every parameter has its value in this file"
    if problem["type"] == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    return f"{path} is {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _names_at(model: type[Section], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        annotation = model.model_fields[str(part)].annotation
        assert isinstance(annotation, type) and issubclass(annotation, Section)
        model = annotation
    return list(model.model_fields)
