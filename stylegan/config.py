"""Frozen sections of the configuration, and the checks that their values fit together.

Owns the shape of params.yaml as far as mathematics needs it. Nothing has a default: params.yaml is the only home of
numbers. Does not import torch, so a typo is reported in a fraction of a second.
"""

import difflib
import posixpath
from collections.abc import Iterator
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, Strict, model_validator

from stylegan.pyramid import Resolution, plain, pyramid, sides, spelt
from stylegan.strict import ConfigError as ConfigError
from stylegan.strict import Section as Section
from stylegan.strict import parse as parse

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
InputSize = Annotated[int, Field(ge=8)]  # side of the square that an extractor sees, pixels; part of the metric
# YAML knows lists only, so a tuple of numbers is the one coercion.
Floats = Annotated[tuple[float, ...], Strict(False)]
Ints = Annotated[tuple[int, ...], Strict(False)]

FILTER_MARGIN = 21  # pixels that augment.multipliers.imgfilter pads by reflection
COLOUR_CHANNELS = (1, 3, 4)  # of L, RGB and RGBA
COLOUR_TRANSFORMS = ("brightness", "contrast", "lumaflip", "hue", "saturation")


EXTRACTORS = ("inception", "vgg16", "efficientnet_lite0", "random")
EXTRACTOR_FILES = (".pt", ".onnx")
EXTRACTOR_SIZES = {"inception": 299, "vgg16": 224}  # pixels; these networks resize images themselves


def _extractor(value: str) -> str:
    """The name of an extractor, or a file of the user's own below weights/"""
    if value in EXTRACTORS:
        return value
    if not value.endswith(EXTRACTOR_FILES):
        nearest = difflib.get_close_matches(value, EXTRACTORS, n=1, cutoff=0.5)
        known = f"did you mean {nearest[0]}? It may also be" if nearest else f"expected {', '.join(EXTRACTORS)}, or"
        raise ValueError(f"evaluate.extractor is {value!r}; {known} a .pt or .onnx file in weights/.")
    if posixpath.normpath(value).split("/")[0] != "weights":
        raise ValueError(
            f"evaluate.extractor is {value!r}, outside weights/, where DVC would not notice that it changed. Copy it "
            f"to weights/{posixpath.basename(value)} and set evaluate.extractor to that."
        )
    return value


def _resolution(value: object) -> Resolution:
    """One number, or [height, width], that the networks can make"""
    sizes = value if isinstance(value, list | tuple) else (value, value)
    if len(sizes) != 2 or not all(type(side) is int and side > 0 for side in sizes):
        raise ValueError(
            f"resolution is {value!r}; expected the side of a square in pixels, or [height, width]. "
            "Set prepare.resolution to a number such as 64, or a pair such as [48, 80]."
        )
    pyramid(sizes)
    return plain(sizes)


class PrepareConfig(Section):
    """How image files become the archive (stage `prepare`)."""

    source: (
        str  # path: "assets/earth" (built in), a folder, zip, official dataset, cifar-10-python.tar.gz, *-idx3-ubyte.gz
    )
    resolution: Annotated[Resolution, BeforeValidator(_resolution)]  # side of a square or [height, width], pixels
    transform: Literal["none", "center-crop", "center-crop-wide"]
    resize_filter: Literal["box", "lanczos"]
    mode: Literal["keep", "L", "LA", "RGB", "RGBA"]  # keep: as the files are, also arrays of more channels
    labels: Literal["none", "folders", "file"]  # sub-folders as classes, or the source's own dataset.json / label files
    bad_files: Literal["skip", "fail"]
    holdout_fraction: Annotated[float, Field(ge=0, lt=1)]
    max_images: Count | None
    seed: Seed  # of the subset and of the split

    @model_validator(mode="after")
    def _transform_makes_the_shape(self) -> Self:
        if self.transform == "center-crop-wide" and not isinstance(self.resolution, int):
            raise ValueError(
                f"transform is center-crop-wide, which pads to a square, but resolution is {spelt(self.resolution)}. "
                "Set prepare.transform to center-crop, which cuts out that shape."
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
    use_noise: bool  # per-pixel noise in every layer


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

    seed: Seed
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
    precision: Literal["fp32", "bf16", "fp16"]  # of the four highest resolutions; the rest is fp32
    resume_from: str | None  # networks to start from; optimisers and position start fresh
    label_transfer: Literal["reinit", "average", "tile"]  # what depends on labels, when their number changes
    freeze_d: Annotated[int, Field(ge=0)]  # layers of D that do not learn, from the highest resolution
    freeze_g: Annotated[int, Field(ge=0)]  # layers of G's synthesis that do not learn, from the lowest resolution
    freeze_mapping: bool  # the mapping network of G does not learn


class MonitorConfig(Section):
    """What is measured at every snapshot of training, and which of them becomes the generator (stage `train`)."""

    # Only what `make repro` brings: another file in weights/ must not be a reason to train again.
    extractor: Literal["efficientnet_lite0", "random"]
    extractor_input_size: InputSize
    num_images: Annotated[int, Field(ge=0)]  # generated, and at most as many real ones; 0 measures nothing
    pr_neighbors: Count
    export: Literal["best", "last"]  # best: of the lowest KID

    @model_validator(mode="after")
    def _enough_is_measured(self) -> Self:
        if self.num_images == 0 and self.export == "best":
            raise ValueError(
                "monitor.export is best, but monitor.num_images is 0, so no snapshot is measured. Set monitor.export "
                "to last, or monitor.num_images to 500."
            )
        if 0 < self.num_images <= self.pr_neighbors:
            raise ValueError(
                f"monitor.pr_neighbors is {self.pr_neighbors}, but each of monitor.num_images = {self.num_images} has "
                "fewer others. Lower monitor.pr_neighbors or raise monitor.num_images."
            )
        return self


Metric: TypeAlias = Literal[
    "kid", "fid", "pr", "is", "memorization", "fid_infinity",
    "ppl2_wend", "ppl_zfull", "ppl_wfull", "ppl_zend", "ppl_wend",
]  # fmt: skip


class EvaluateConfig(Section):
    """What is measured (stage `evaluate`)."""

    extractor: Annotated[str, AfterValidator(_extractor)]  # random needs no download and is no FID
    extractor_input_size: InputSize
    num_images: Annotated[int, Field(ge=2)]  # generated images per measurement
    batch_size: Count
    seed: Seed  # of latents, labels, noise and subsets, the same for every psi
    metrics: Annotated[tuple[Metric, ...], Strict(False), Field(min_length=1)]
    truncation_psi: Annotated[Floats, Field(min_length=1)]
    truncation_cutoff: Count | None
    bootstrap_num_resamples: Annotated[int, Field(ge=0)]  # 0: no confidence intervals
    bootstrap_level: Annotated[float, Field(gt=0, lt=1)]  # share of resampled values within an interval
    kid_num_subsets: Count
    kid_subset_size: Annotated[int, Field(ge=2)]
    pr_neighbors: Count
    neighbors_num_shown: Count  # generated images whose nearest training images are drawn
    ppl_network: Literal["lpips_vgg16", "vgg16", "random"]  # random needs no download and is no LPIPS
    ppl_num_pairs: Annotated[int, Field(ge=2)]
    ppl_epsilon: Positive

    @model_validator(mode="after")
    def _input_size_is_the_extractors(self) -> Self:
        size = EXTRACTOR_SIZES.get(self.extractor, self.extractor_input_size)
        if self.extractor_input_size != size:
            raise ValueError(
                f"evaluate.extractor_input_size is {self.extractor_input_size}, but {self.extractor} sees {size} "
                f"pixels. Set evaluate.extractor_input_size to {size}."
            )
        return self

    @model_validator(mode="after")
    def _a_distance_is_measured(self) -> Self:
        if not {"kid", "fid"} & set(self.metrics):
            raise ValueError(
                f"evaluate.metrics is {list(self.metrics)} and lacks a distance, on which the headline and the choice "
                "of psi rest. Add kid, or fid."
            )
        return self

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
    monitor: MonitorConfig
    evaluate: EvaluateConfig
    render: RenderConfig

    @model_validator(mode="after")
    def _values_fit_together(self) -> Self:
        problems = [*batch_problems(self), *_network_problems(self), *_measurement_problems(self)]
        if problems:
            raise ValueError("\n".join(problems))
        return self


def batch_problems(config: Config) -> Iterator[str]:
    """What keeps a batch of whole micro-batches of batch_gpu from suiting the layers that need whole groups."""
    batch_size, batch_gpu = config.train.batch_size, config.train.batch_gpu
    if batch_size % batch_gpu:
        yield (
            f"train.batch_size is {batch_size}, not a multiple of train.batch_gpu {batch_gpu}. "
            f"Set train.batch_size to {max(batch_size // batch_gpu, 1) * batch_gpu}, or change train.batch_gpu."
        )
    group = min(config.discriminator.mbstd_group_size, batch_gpu)
    if batch_gpu % group:
        yield (
            f"train.batch_gpu is {batch_gpu}, not a multiple of discriminator.mbstd_group_size {group}. "
            f"Set train.batch_gpu to {batch_gpu // group * group}, or lower the group size."
        )
    if config.loss.pl_weight > 0 and batch_gpu < config.loss.pl_batch_shrink:
        yield (
            f"train.batch_gpu is {batch_gpu}, below loss.pl_batch_shrink {config.loss.pl_batch_shrink}: path length "
            f"would see no image. Set loss.pl_batch_shrink to at most {batch_gpu}, or loss.pl_weight to 0."
        )


def worker_problems(train: TrainConfig, max_workers: int) -> Iterator[str]:
    """Any number of workers shares the micro-batches of a step, as long as each has one."""
    pieces = train.batch_size // train.batch_gpu
    if 0 < pieces < max_workers:
        fits = max(train.batch_size // max_workers, 1)
        while train.batch_size % fits:
            fits -= 1
        yield (
            f"cluster.num_workers is {max_workers}, but a batch of {train.batch_size} has {pieces} piece(s) of "
            f"train.batch_gpu {train.batch_gpu}. Set cluster.num_workers to at most {pieces}, or train.batch_gpu to "
            f"at most {fits}."
        )


def _network_problems(config: Config) -> Iterator[str]:
    shorter, longer = sorted(sides(config.prepare.resolution))
    augment, size = config.augment, spelt(config.prepare.resolution)
    for name, channel_base in (
        ("generator", config.generator.channel_base),
        ("discriminator", config.discriminator.channel_base),
    ):
        if channel_base < longer:
            yield (
                f"{name}.channel_base is {channel_base}, which leaves no channel at {longer} pixels. "
                f"Set it to at least {longer}; 32 x as much is usual."
            )
    yield from _mbstd_problems(config)
    G = config.generator
    if G.mapping_layers == 0 and (G.z_dim != G.w_dim or config.data.use_labels):
        yield (
            "generator.mapping_layers is 0, so w is z itself, which takes no labels and a z_dim equal to w_dim "
            f"({G.z_dim} and {G.w_dim} here). Set generator.mapping_layers to at least 1."
        )
    for name, conv_clamp in (
        ("generator", config.generator.conv_clamp),
        ("discriminator", config.discriminator.conv_clamp),
    ):
        if config.train.precision == "fp16" and conv_clamp is None:
            yield (
                f"train.precision is fp16, but {name}.conv_clamp is null: half precision ends at 65504, and the clamp "
                f"keeps activations below. Set {name}.conv_clamp to 256, or train.precision to bf16."
            )
    if augment.p > augment.p_max:
        yield (
            f"augment.p starts at {augment.p}, above its cap augment.p_max = {augment.p_max}. "
            "Lower augment.p or raise augment.p_max."
        )
    if augment.mode != "none" and augment.multipliers.imgfilter > 0 and shorter <= FILTER_MARGIN:
        yield (
            f"augment.multipliers.imgfilter is {augment.multipliers.imgfilter:g}, but its filters reach "
            f"{FILTER_MARGIN} pixels and images have {size}. Set it to 0, or prepare.resolution to 32 or more."
        )
    if config.prepare.mode == "LA":
        yield from colour_problems(config, num_channels=2)
    if config.data.use_labels and config.prepare.labels == "none":
        yield (
            "data.use_labels is true, but prepare.labels is none, so the archive has no labels. "
            "Set prepare.labels to folders or file, or data.use_labels to false."
        )


def colour_problems(config: Config, num_channels: int) -> Iterator[str]:
    """Colour transforms that images of so many channels do not take; known for sure once there is an archive"""
    active = [name for name in COLOUR_TRANSFORMS if getattr(config.augment.multipliers, name) > 0]
    if config.augment.mode != "none" and active and num_channels not in COLOUR_CHANNELS:
        yield (
            f"augment.multipliers {', '.join(active)} change colours, which L, RGB and RGBA images have, but images of "
            f"{num_channels} channels do not. Set them to 0."
        )


def _mbstd_problems(config: Config) -> Iterator[str]:
    """The maps of the minibatch standard deviation share the channels at the base evenly."""
    D = config.discriminator
    channels = min(D.channel_base // pyramid(config.prepare.resolution).longer_side(0), D.channel_max)
    if channels and D.mbstd_num_channels and channels % D.mbstd_num_channels:
        fits = max(number for number in range(1, min(D.mbstd_num_channels, channels) + 1) if channels % number == 0)
        yield (
            f"discriminator.mbstd_num_channels is {D.mbstd_num_channels}, which does not divide the {channels} "
            f"channels at the base. Set it to {fits}, or to 0 for none."
        )


def _measurement_problems(config: Config) -> Iterator[str]:
    evaluate, render = config.evaluate, config.render
    num_ws, size = pyramid(config.prepare.resolution).num_ws, spelt(config.prepare.resolution)
    if evaluate.kid_subset_size > evaluate.num_images:
        yield (
            f"evaluate.kid_subset_size is {evaluate.kid_subset_size} but only {evaluate.num_images} images "
            "are generated. Lower evaluate.kid_subset_size or raise evaluate.num_images."
        )
    if evaluate.pr_neighbors >= evaluate.num_images:
        yield (
            f"evaluate.pr_neighbors is {evaluate.pr_neighbors}, but each of evaluate.num_images = "
            f"{evaluate.num_images} has fewer others. Lower evaluate.pr_neighbors or raise evaluate.num_images."
        )
    if evaluate.truncation_cutoff is not None and evaluate.truncation_cutoff > num_ws:
        yield (
            f"evaluate.truncation_cutoff is {evaluate.truncation_cutoff}, but the generator has {num_ws} style layers "
            f"at {size} pixels. Set it to null for all, or to at most {num_ws}."
        )
    if not all(0 <= layer < num_ws for layer in render.mixing_layers):
        yield (
            f"render.mixing_layers is {list(render.mixing_layers)}, but the generator has style layers 0 to "
            f"{num_ws - 1} at {size} pixels. Name only those."
        )
