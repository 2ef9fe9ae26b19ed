"""From the attributes and arguments that a pickled network holds to the sections of this project's configuration.

An attribute is what the network computed with, so it goes before the argument of the constructor, and that before the
default of the official code. StyleGAN3's training code writes the arguments of `synthesis` among those of the generator
and has other defaults (spec: num_fp16_res 4, conv_clamp 256, w_avg_beta 0.998).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stylegan.config.pyramid import MAX_SIDE
from stylegan.config.sections import MAX_LAYERS, MAX_WIDTH, DiscriminatorConfig, GeneratorConfig
from stylegan.official.errors import OfficialFileError, printable
from stylegan.official.records import Module, as_dict

WHOLE_BATCH = 2**20  # images in a group of the minibatch standard deviation that is bounded by the batch alone
ARCHITECTURES = ("orig", "skip", "resnet")


# Arguments that are read below, or say how fast to compute and not what; the report names all others.
KNOWN_ARGUMENTS = {
    "z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs", "synthesis_kwargs", "channel_base",
    "channel_max", "num_fp16_res", "conv_clamp", "architecture", "use_noise", "activation", "num_layers", "num_ws",
    "lr_multiplier", "w_avg_beta", "block_kwargs", "layer_kwargs", "epilogue_kwargs", "mbstd_group_size",
    "mbstd_num_channels", "fused_modconv_default", "fp16_channels_last", "freeze_layers",
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """What a network is built for, next to its section of the configuration"""

    img_resolution: int
    img_channels: int
    c_dim: int


@dataclass(frozen=True)
class Settings:
    """What a module says of itself: attributes first, then arguments"""

    where: str
    attributes: Mapping[Any, Any]
    arguments: Mapping[Any, Any]

    def get(self, name: str, default: object = None, *, attribute: str | None = None) -> object:
        value = self.attributes.get(attribute or name, self.arguments.get(name, default))
        return default if value is None else value

    def whole(self, name: str, low: int, high: int, default: object = None, *, attribute: str | None = None) -> int:
        value = self.get(name, default, attribute=attribute)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not int or not low <= value <= high:
            raise OfficialFileError(
                f"{self.where}.{name} is {printable(value)}, expected a whole number {low} to {high}"
            )
        return value

    def number(
        self, name: str, low: float, high: float, default: object = None, *, attribute: str | None = None
    ) -> float:
        value = self.get(name, default, attribute=attribute)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise OfficialFileError(f"{self.where}.{name} is {printable(value)}, expected a number {low:g} to {high:g}")
        return float(value)

    def choice(self, name: str, known: tuple[str, ...], default: str) -> Any:
        value = self.get(name, default)
        if value not in known:
            raise OfficialFileError(f"{self.where}.{name} is {printable(value)}; known: {', '.join(known)}")
        return value


def clamp_of(settings: Settings, default: object) -> float | None:
    """conv_clamp; None is a value of its own here"""
    for source in (settings.attributes, settings.arguments):
        if "conv_clamp" in source:
            default = source["conv_clamp"]
            break
    if default is None:
        return None
    return Settings(settings.where, {}, {"conv_clamp": default}).number("conv_clamp", 1e-6, 1e9)


def shape_of(settings: Settings) -> Shape:
    resolution = settings.whole("img_resolution", 8, MAX_SIDE)
    if resolution & (resolution - 1):
        raise OfficialFileError(f"{settings.where}.img_resolution is {resolution}, which is not a power of two")
    return Shape(
        img_resolution=resolution,
        img_channels=settings.whole("img_channels", 1, MAX_WIDTH),
        c_dim=settings.whole("c_dim", 0, MAX_WIDTH, 0),
    )


def unknown_arguments(module: Module) -> list[str]:
    """Arguments of a network that are not read, of its parts too, in words"""
    kwargs = module.kwargs
    parts = [as_dict(kwargs.get(name)) for name in ("mapping_kwargs", "synthesis_kwargs", "epilogue_kwargs")]
    return sorted({printable(name) for part in (kwargs, *parts) for name in part if name not in KNOWN_ARGUMENTS})


def attributes_of(module: Module | None) -> Mapping[Any, Any]:
    return module.state if module else {}


def kwargs_of(module: Module | None) -> dict[Any, Any]:
    return module.kwargs if module else {}


def mapping_settings(where: str, parent: Module) -> Settings:
    mapping = parent.child("mapping")
    arguments = as_dict(parent.kwargs.get("mapping_kwargs")) | kwargs_of(mapping)
    return Settings(f"{where}.mapping", attributes_of(mapping), arguments)


def lr_multiplier_of(mapping: Settings, parent: Module) -> float:
    """The layers keep it as the gain of their biases"""
    first = attributes_of(parent.child("mapping", "fc0"))
    return Settings(mapping.where, first, mapping.arguments).number(
        "lr_multiplier", 1e-6, 1e6, 0.01, attribute="bias_gain"
    )


def generator_settings(module: Module, where: str) -> tuple[GeneratorConfig, Shape]:
    """Raises OfficialFileError for a StyleGAN3 generator, and for values outside of the published architecture."""
    kwargs = module.kwargs
    synthesis = module.child("synthesis")
    if synthesis and synthesis.child("b4") is None and synthesis.child("input") is not None:
        raise OfficialFileError(
            f"{where} is an alias-free StyleGAN3 generator (configuration t or r), another architecture. "
            "Only StyleGAN2 networks can be read; StyleGAN3's `--cfg=stylegan2` makes them."
        )
    is_flat = "channel_base" in kwargs or "channel_max" in kwargs
    nested = as_dict(kwargs.get("synthesis_kwargs")) | kwargs_of(synthesis)
    arguments = kwargs | nested | as_dict(nested.get("block_kwargs")) | as_dict(nested.get("layer_kwargs"))
    top = Settings(where, module.state, kwargs)
    inner = Settings(f"{where}.synthesis", attributes_of(synthesis), arguments)
    block = Settings(inner.where, attributes_of(synthesis and synthesis.child("b4")), arguments)
    layer = Settings(inner.where, attributes_of(synthesis and synthesis.child("b4", "conv1")), arguments)
    layer.choice("activation", ("lrelu",), "lrelu")
    mapping = mapping_settings(where, module)
    mapping.choice("activation", ("lrelu",), "lrelu")
    config = GeneratorConfig(
        style_block="demodulation",
        architecture=block.choice("architecture", ARCHITECTURES, "skip"),
        z_dim=top.whole("z_dim", 1, MAX_WIDTH),
        w_dim=top.whole("w_dim", 1, MAX_WIDTH),
        mapping_layers=mapping.whole("num_layers", 0, MAX_LAYERS, 8),
        mapping_lr_multiplier=lr_multiplier_of(mapping, module),
        channel_base=inner.whole("channel_base", 1, 2**30, 32768),
        channel_max=inner.whole("channel_max", 1, MAX_WIDTH, 512),
        conv_clamp=clamp_of(layer, 256 if is_flat else None),
        w_avg_beta=mapping.number("w_avg_beta", 0, 1, 0.998 if is_flat else 0.995),
        use_noise=bool(layer.get("use_noise", True)),
    )
    return config, shape_of(top)


def discriminator_settings(module: Module, where: str, *, is_flat: bool) -> tuple[DiscriminatorConfig, Shape]:
    """is_flat: the file is of StyleGAN3's training code. Raises OfficialFileError as `generator_settings`."""
    epilogue = module.child("b4")
    arguments = module.kwargs | as_dict(module.kwargs.get("block_kwargs"))
    top = Settings(where, module.state, arguments)
    shape = shape_of(top)
    block = Settings(where, attributes_of(module.child(f"b{shape.img_resolution}")), arguments)
    layer = Settings(where, attributes_of(module.child("b4", "conv")), arguments)
    layer.choice("activation", ("lrelu",), "lrelu")
    mbstd_arguments = as_dict(module.kwargs.get("epilogue_kwargs")) | kwargs_of(epilogue)
    mbstd = Settings(f"{where}.b4.mbstd", attributes_of(module.child("b4", "mbstd")), mbstd_arguments)
    mapping = mapping_settings(where, module)
    config = DiscriminatorConfig(
        architecture=block.choice("architecture", ARCHITECTURES, "resnet"),
        mapping_layers=mapping.whole("num_layers", 0, MAX_LAYERS, 8),
        mapping_lr_multiplier=lr_multiplier_of(mapping, module),
        channel_base=top.whole("channel_base", 1, 2**30, 32768),
        channel_max=top.whole("channel_max", 1, MAX_WIDTH, 512),
        conv_clamp=clamp_of(layer, 256 if is_flat else None),
        mbstd_group_size=_group_size(mbstd),
        mbstd_num_channels=mbstd.whole("mbstd_num_channels", 0, MAX_WIDTH, 1, attribute="num_channels"),
    )
    return config, shape


def _group_size(mbstd: Settings) -> int:
    for name, source in (("group_size", mbstd.attributes), ("mbstd_group_size", mbstd.arguments)):
        if name in source and source[name] is None:
            return WHOLE_BATCH
    return mbstd.whole("mbstd_group_size", 1, WHOLE_BATCH, 4, attribute="group_size")
