"""Frozen sections of the configuration: the shape of params.yaml as far as mathematics needs it.

Nothing has a default: params.yaml is the only home of numbers. Does not import torch, so a typo is reported in a
fraction of a second.
"""

import difflib
import posixpath
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, Strict, model_validator

from stylegan.config.pyramid import Resolution, plain, pyramid, spelt
from stylegan.config.strict import Section

Probability = Annotated[float, Field(ge=0, le=1)]
MAX_FLOAT = 3.4e38  # that a tensor of float32 can be compared with and multiplied by
Positive = Annotated[float, Field(gt=0, le=MAX_FLOAT)]
NonNegative = Annotated[float, Field(ge=0, le=MAX_FLOAT)]
Count = Annotated[int, Field(ge=1)]
Kimg = Annotated[float, Field(gt=0, le=1e9)]  # thousands of images; a position has to be a whole number of them
Seed = Annotated[int, Field(ge=0)]
# Larger than any network of the papers, small enough that a mistaken value is refused and not built.
MAX_WIDTH = 2**20  # channels, features, classes
MAX_LAYERS = 64  # of a mapping network
Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Layers = Annotated[int, Field(ge=0, le=MAX_LAYERS)]
Kernels: TypeAlias = Literal["auto", "stock"]
InputSize = Annotated[int, Field(ge=8)]  # side of the square that an extractor sees, pixels; part of the metric
# YAML knows lists only, so a tuple of numbers is the one coercion.
Floats = Annotated[tuple[float, ...], Strict(False)]
Ints = Annotated[tuple[int, ...], Strict(False)]

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


def read_resolution(value: object) -> Resolution:
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
    resolution: Annotated[Resolution, BeforeValidator(read_resolution)]  # side of a square or [height, width], pixels
    transform: Literal["none", "center-crop", "center-crop-wide"]
    resize_filter: Literal["box", "lanczos"]
    mode: Literal["keep", "L", "LA", "RGB", "RGBA"]  # keep: as the files are, also arrays of more channels
    labels: Literal["none", "folders", "file"]  # sub-folders as classes, or the source's own dataset.json / label files
    max_bad_share: Probability  # of the images; if more cannot be used, nothing is prepared
    holdout_fraction: Annotated[float, Field(ge=0, lt=1)]  # of each class
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

    style_block: Literal["demodulation", "adain"]  # of StyleGAN2 or of StyleGAN
    architecture: Literal["orig", "skip", "resnet", "msg"]  # msg: of the discriminator too
    z_dim: Width
    w_dim: Width
    mapping_layers: Layers
    mapping_lr_multiplier: Positive
    channel_base: Annotated[int, Field(ge=1, le=2**29)]  # channels(res) = min(channel_base / res, channel_max)
    channel_max: Width
    conv_clamp: Positive | None
    w_avg_beta: Probability
    use_noise: bool  # per-pixel noise in every layer


class DiscriminatorConfig(Section):
    """Discriminator with minibatch standard deviation."""

    architecture: Literal["orig", "skip", "resnet", "msg"]  # msg: of the generator too
    mapping_layers: Layers
    mapping_lr_multiplier: Positive
    channel_base: Annotated[int, Field(ge=1, le=2**29)]
    channel_max: Width
    conv_clamp: Positive | None
    mbstd_group_size: Width
    mbstd_num_channels: Annotated[int, Field(ge=0, le=MAX_WIDTH)]


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
    """Discriminator augmentation (Karras et al. 2020a, Sec. 3; diffaugment: Zhao et al. 2020)."""

    mode: Literal["none", "fixed", "ada", "ada_rv", "diffaugment"]
    p: Probability  # the probability itself when fixed, its start when adaptive
    p_max: Probability  # leaks become likely above 0.8
    ada_target: Annotated[float, Field(ge=-1, le=1)]  # of r_t = E[sign(D(real))], or of r_v where mode is ada_rv
    ada_interval: Count  # batches between adjustments
    ada_kimg: Positive  # kimg in which p can move by 1
    multipliers: MultipliersConfig
    diffaugment: Annotated[
        tuple[Literal["color", "translation", "cutout"], ...], Strict(False), Field(min_length=1)
    ]  # operations of mode diffaugment

    @model_validator(mode="after")
    def _operations_are_in_order(self) -> Self:
        ordered = [name for name in ("color", "translation", "cutout") if name in self.diffaugment]
        if list(self.diffaugment) != ordered:
            raise ValueError(
                f"augment.diffaugment is {list(self.diffaugment)}; expected each operation once, and color before "
                f"translation before cutout. Set it to [{', '.join(ordered)}]."
            )
        return self


class LossConfig(Section):
    """Adversarial loss with lazy regularisation of D and lazy path length regularisation of G."""

    adversarial: Literal["non_saturating", "wgan_gp"]
    d_regularizer: Literal["r1", "gp"]
    gp_weight: NonNegative  # of gp
    drift_weight: NonNegative  # of D(real)^2 in wgan_gp
    r1_gamma: NonNegative  # of r1
    d_reg_interval: Count  # batches; 1: part of every step, not lazy
    pl_weight: NonNegative
    pl_batch_shrink: Count
    pl_decay: Probability
    g_reg_interval: Count  # batches; 1: part of every step, not lazy
    style_mixing_prob: Probability


class TrainConfig(Section):
    """Length, batch, optimisers, averaging and reporting of a run (stage `train`)."""

    seed: Seed
    total_kimg: Kimg
    batch_size: Count  # images per step over all processes
    batch_gpu: Count  # images per forward pass in one process
    g_lr: Positive
    d_lr: Positive
    adam_betas: Annotated[tuple[Probability, Probability], Strict(False)]
    adam_eps: Positive
    ema_kimg: Positive  # half-life of G_ema
    ema_rampup: Positive | None  # half-life is at most this fraction of cur_nimg
    tick_kimg: Kimg
    snapshot_ticks: Count
    precision: Literal["fp32", "bf16", "fp16"]  # of the four highest resolutions; the rest is fp32
    kernels: Kernels  # on a GPU: the project's kernels where they run, or torch's operations alone
    allow_tf32: bool  # on a GPU: round factors of float32 products to 10 bits while training; measurements never do
    resume_from: str | None  # networks to start from; optimisers and position start fresh
    label_transfer: Literal["reinit", "average", "tile"]  # what depends on labels, when their number changes
    freeze_d: Annotated[int, Field(ge=0)]  # layers of D that do not learn, from the highest resolution
    freeze_g: Annotated[int, Field(ge=0)]  # layers of G's synthesis that do not learn, from the lowest resolution
    freeze_mapping: bool  # the mapping network of G does not learn
    grow_from: Count | None  # 4, 8, ...: level that training starts at, as blocks are named; null: at the highest
    grow_stable_kimg: Positive  # at each level, before
    grow_fade_kimg: Positive  # the next is faded in


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
    floor_splits: Count  # of the real images; one split of a thousand scatters by several times the floor itself
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
    mixing_rows: Annotated[Ints, Field(min_length=1)]  # seeds that give all styles but those of a band
    mixing_cols: Annotated[Ints, Field(min_length=1)]  # seeds that give the styles of a band
    interpolation_images: Annotated[int, Field(ge=2)]  # the most realistic ones
    interpolation_frames: Annotated[int, Field(ge=2)]  # per pair of images
    video_fps: Count
    video_scale: Count  # integer enlargement of images meant for the eye
