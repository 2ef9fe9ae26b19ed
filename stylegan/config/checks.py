"""The whole configuration, and the checks that the values of its sections fit together.

Does not import torch, so a typo is reported in a fraction of a second.
"""

from collections.abc import Iterator
from typing import Self

from pydantic import model_validator

from stylegan.config.augmentation import uses_p
from stylegan.config.pyramid import pyramid, sides, spelt
from stylegan.config.sections import (
    AugmentConfig,
    DataConfig,
    DiscriminatorConfig,
    EvaluateConfig,
    GeneratorConfig,
    LossConfig,
    MonitorConfig,
    PrepareConfig,
    RenderConfig,
    TrainConfig,
)
from stylegan.config.strict import Section

FILTER_MARGIN = 21  # pixels that augment.multipliers.imgfilter pads by reflection
COLOUR_CHANNELS = (1, 3, 4)  # of L, RGB and RGBA
COLOUR_TRANSFORMS = ("brightness", "contrast", "lumaflip", "hue", "saturation")


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
        problems = [
            *_length_problems(self.train), *batch_problems(self), *_network_problems(self), *_augment_problems(self),
            *_growing_problems(self), *_msg_problems(self), *_measurement_problems(self),
        ]  # fmt: skip
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _length_problems(train: TrainConfig) -> Iterator[str]:
    """Positions are whole images."""
    for name, kimg in (("total_kimg", train.total_kimg), ("tick_kimg", train.tick_kimg)):
        if round(kimg * 1000) < 1:
            yield f"train.{name} is {kimg:g}, less than one image (1 kimg is 1000 images). Set it to at least 0.001."


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
            f"cluster.num_workers is {max_workers}, but a batch of {train.batch_size} has {pieces} micro-batch(es) "
            f"of train.batch_gpu {train.batch_gpu}. Set cluster.num_workers to at most {pieces}, or train.batch_gpu "
            "to "
            f"at most {fits}."
        )


def _network_problems(config: Config) -> Iterator[str]:
    longer = max(sides(config.prepare.resolution))
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
    if config.data.use_labels and config.prepare.labels == "none":
        yield (
            "data.use_labels is true, but prepare.labels is none, so the archive has no labels. "
            "Set prepare.labels to folders or file, or data.use_labels to false."
        )


def _augment_problems(config: Config) -> Iterator[str]:
    shorter = min(sides(config.prepare.resolution))
    augment, size = config.augment, spelt(config.prepare.resolution)
    if augment.p > augment.p_max:
        yield (
            f"augment.p starts at {augment.p}, above its cap augment.p_max = {augment.p_max}. "
            "Lower augment.p or raise augment.p_max."
        )
    if uses_p(augment) and augment.multipliers.imgfilter > 0 and shorter <= FILTER_MARGIN:
        yield (
            f"augment.multipliers.imgfilter is {augment.multipliers.imgfilter:g}, but its filters reach "
            f"{FILTER_MARGIN} pixels and images have {size}. Set it to 0, or prepare.resolution to 32 or more."
        )
    if augment.mode == "ada" and config.loss.adversarial == "wgan_gp":
        yield (
            "augment.mode is ada, which follows the signs of D's scores, but loss.adversarial is wgan_gp, whose scores "
            "have no zero between real and generated images. Set augment.mode to ada_rv or none."
        )
    if augment.mode == "ada_rv" and config.prepare.holdout_fraction == 0:
        yield (
            "augment.mode is ada_rv, which compares training images with held-out ones, but prepare.holdout_fraction "
            "is 0. Set prepare.holdout_fraction to 0.1, or augment.mode to ada."
        )
    if config.prepare.mode == "LA":
        yield from colour_problems(config, num_channels=2)


def colour_problems(config: Config, num_channels: int) -> Iterator[str]:
    """Colour transforms that images of so many channels do not take; known for sure once there is an archive"""
    augment = config.augment
    if num_channels in COLOUR_CHANNELS:
        return
    active = [name for name in COLOUR_TRANSFORMS if getattr(augment.multipliers, name) > 0]
    if uses_p(augment) and active:
        yield (
            f"augment.multipliers {', '.join(active)} change colours, which L, RGB and RGBA images have, but images of "
            f"{num_channels} channels do not. Set them to 0."
        )
    if augment.mode == "diffaugment" and "color" in augment.diffaugment:
        others = ", ".join(name for name in augment.diffaugment if name != "color") or "translation, cutout"
        yield (
            "augment.diffaugment has color, which changes the colours of L, RGB and RGBA images, but images of "
            f"{num_channels} channels have others. Set augment.diffaugment to [{others}]."
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


def _growing_problems(config: Config) -> Iterator[str]:
    """Progressive growing turns the features of every resolution into colours and back, and that alone."""
    train, levels = config.train, pyramid(config.prepare.resolution)
    if train.grow_from is None:
        return
    usable = levels.nominal[:-1]
    if train.grow_from not in usable:
        yield (
            f"train.grow_from is {train.grow_from}, but at {spelt(config.prepare.resolution)} pixels networks can grow "
            f"from {', '.join(map(str, usable))}. Set it to one of these, or to null."
        )
        return
    for name, architecture in (
        ("generator", config.generator.architecture),
        ("discriminator", config.discriminator.architecture),
    ):
        if architecture != "orig":
            yield (
                f"train.grow_from is {train.grow_from}, but {name}.architecture is {architecture}, which cannot grow. "
                f"Set {name}.architecture to orig, or train.grow_from to null."
            )
    if train.freeze_d or train.freeze_g:
        yield (
            f"train.grow_from is {train.grow_from}, but train.freeze_d {train.freeze_d} and train.freeze_g "
            f"{train.freeze_g} freeze layers of networks that are whole. Set both to 0, or train.grow_from to null."
        )
    stages = len(usable) - usable.index(train.grow_from)
    needed = stages * (train.grow_stable_kimg + train.grow_fade_kimg)
    if train.total_kimg < needed:
        yield (
            f"train.total_kimg is {train.total_kimg:g}, but networks that grow from {train.grow_from} are whole after "
            f"{needed:g} kimg. Raise it, or lower train.grow_stable_kimg and train.grow_fade_kimg."
        )


def _msg_problems(config: Config) -> Iterator[str]:
    """The architecture msg gives the discriminator images of all resolutions, which only such a generator draws."""
    G, D = config.generator.architecture, config.discriminator.architecture
    if (G == "msg") != (D == "msg"):
        yield (
            f"generator.architecture is {G} and discriminator.architecture {D}, but msg is a pair. "
            "Set both to msg, or neither."
        )
    elif G == "msg" and config.augment.mode != "none":
        yield (
            f"augment.mode is {config.augment.mode}, but the msg discriminator sees each image at every resolution, "
            "and augmenting all of them identically is not supported. Set augment.mode to none, or choose another "
            "architecture for both networks."
        )


def _measurement_problems(config: Config) -> Iterator[str]:
    evaluate = config.evaluate
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
