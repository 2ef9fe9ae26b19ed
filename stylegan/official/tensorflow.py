"""Networks of the TensorFlow era: other names, other axes, the same mathematics.

Kernels are stored H W I O and those of up-sampling convolutions spatially reversed, dense weights are transposed, the
bias of a style is stored without its 1, and channels are counted from half of channel_base.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from stylegan.config.sections import MAX_LAYERS, MAX_WIDTH, DiscriminatorConfig, GeneratorConfig
from stylegan.official.errors import OfficialFileError, printable
from stylegan.official.records import ArrayRecord, Converted, Numbers, TensorFlowNetwork, Weights, as_dict
from stylegan.official.settings import ARCHITECTURES, Settings, Shape, clamp_of, shape_of

MIN_VERSION = 4
COMPONENTS = ("mapping", "synthesis")
IGNORED = ("lod",)  # how far progressive growing is; these networks do not grow
NAMES = {  # of this project -> of TensorFlow
    "num_channels": "img_channels", "resolution": "img_resolution", "label_size": "c_dim",
    "latent_size": "z_dim", "dlatent_size": "w_dim",
}  # fmt: skip

Config = TypeVar("Config", GeneratorConfig, DiscriminatorConfig)
Axes = tuple[int, ...]


@dataclass(frozen=True)
class Described(Generic[Config]):
    """What is needed to build a network"""

    config: Config
    shape: Shape
    weights: Mapping[str, Weights]


@dataclass(frozen=True)
class Arrangement:
    """How an array of TensorFlow becomes a tensor: its axes, and what is done to its numbers before"""

    axes: Axes
    convert: Callable[[Numbers], Numbers] = lambda a: a
    drop: int = 0  # leading axes of length 1

    def of(self, source: ArrayRecord, name: str) -> Weights:
        shape = source.shape[self.drop :]
        if len(shape) != len(self.axes) or any(size != 1 for size in source.shape[: self.drop]):
            raise OfficialFileError(f"{name} has {len(source.shape)} axes, which is not expected")
        target = tuple(shape[axis] for axis in self.axes)
        return Converted(source, target, lambda a: self.convert(a.reshape(shape)).transpose(self.axes))


CONV = Arrangement((3, 2, 0, 1))
UP_CONV = Arrangement((3, 2, 0, 1), lambda a: a[::-1, ::-1])
DENSE = Arrangement((1, 0))
VECTOR = Arrangement((0,))
STYLE_BIAS = Arrangement((0,), lambda a: a + np.float32(1))
SCALAR = Arrangement(())
CONST = Arrangement((0, 1, 2), drop=1)
NOISE = Arrangement((0, 1), drop=2)

Rule = tuple[str, str, Arrangement]
LAYERS = {"Conv": "conv1", "Conv0_up": "conv0", "Conv1": "conv1", "ToRGB": "torgb"}
MAPPING: list[Rule] = [
    (r"LabelEmbed/weight", "mapping.embed.weight", DENSE),
    (r"LabelEmbed/bias", "mapping.embed.bias", VECTOR),
]
GENERATOR: list[Rule] = [
    *MAPPING,
    (r"Dense(\d+)/weight", "mapping.fc{0}.weight", DENSE),
    (r"Dense(\d+)/bias", "mapping.fc{0}.bias", VECTOR),
    (r"dlatent_avg", "mapping.w_avg", VECTOR),
    (r"4x4/Const/const", "synthesis.b4.const", CONST),
    (r"(\d+)x\1/(Conv0_up)/weight", "synthesis.b{0}.{1}.weight", UP_CONV),
    (r"(\d+)x\1/(Conv|Conv1|ToRGB)/weight", "synthesis.b{0}.{1}.weight", CONV),
    (r"(\d+)x\1/(Conv|Conv0_up|Conv1|ToRGB)/bias", "synthesis.b{0}.{1}.bias", VECTOR),
    (r"(\d+)x\1/(Conv|Conv0_up|Conv1|ToRGB)/mod_weight", "synthesis.b{0}.{1}.affine.weight", DENSE),
    (r"(\d+)x\1/(Conv|Conv0_up|Conv1|ToRGB)/mod_bias", "synthesis.b{0}.{1}.affine.bias", STYLE_BIAS),
    (r"(\d+)x\1/(Conv|Conv0_up|Conv1)/noise_strength", "synthesis.b{0}.{1}.noise_strength", SCALAR),
    (r"(\d+)x\1/Skip/weight", "synthesis.b{0}.skip.weight", UP_CONV),
]
DISCRIMINATOR: list[Rule] = [
    *MAPPING,
    (r"Mapping(\d+)/weight", "mapping.fc{0}.weight", DENSE),
    (r"Mapping(\d+)/bias", "mapping.fc{0}.bias", VECTOR),
    (r"(\d+)x\1/FromRGB/weight", "b{0}.fromrgb.weight", CONV),
    (r"(\d+)x\1/FromRGB/bias", "b{0}.fromrgb.bias", VECTOR),
    (r"(\d+)x\1/Conv0/weight", "b{0}.conv0.weight", CONV),
    (r"(\d+)x\1/Conv0/bias", "b{0}.conv0.bias", VECTOR),
    (r"(\d+)x\1/Conv1_down/weight", "b{0}.conv1.weight", CONV),
    (r"(\d+)x\1/Conv1_down/bias", "b{0}.conv1.bias", VECTOR),
    (r"(\d+)x\1/Skip/weight", "b{0}.skip.weight", CONV),
    (r"4x4/Conv/weight", "b4.conv.weight", CONV),
    (r"4x4/Conv/bias", "b4.conv.bias", VECTOR),
    (r"4x4/Dense0/weight", "b4.fc.weight", DENSE),
    (r"4x4/Dense0/bias", "b4.fc.bias", VECTOR),
    (r"Output/weight", "b4.out.weight", DENSE),
    (r"Output/bias", "b4.out.bias", VECTOR),
]


def describe_generator(network: TensorFlowNetwork, where: str) -> Described[GeneratorConfig]:
    """Raises OfficialFileError for versions and architectures before StyleGAN2."""
    options = _options(network, where)
    options.choice("mapping_nonlinearity", ("lrelu",), "lrelu")
    options.choice("nonlinearity", ("lrelu",), "lrelu")
    w_dim = options.whole("w_dim", 1, MAX_WIDTH, 512)
    if options.whole("mapping_fmaps", 1, MAX_WIDTH, w_dim) != w_dim:
        raise OfficialFileError(f"{where}: mapping_fmaps and dlatent_size differ, which is not supported")
    channel_base, channel_max = _channels(options)
    config = GeneratorConfig(
        style_block="demodulation",
        architecture=options.choice("architecture", ARCHITECTURES, "skip"),
        z_dim=options.whole("z_dim", 1, MAX_WIDTH, 512),
        w_dim=w_dim,
        mapping_layers=options.whole("mapping_layers", 0, MAX_LAYERS, 8),
        mapping_lr_multiplier=options.number("mapping_lrmul", 1e-6, 1e6, 0.01),
        channel_base=channel_base,
        channel_max=channel_max,
        conv_clamp=clamp_of(options, None),
        w_avg_beta=options.number("dlatent_avg_beta", 0, 1, 0.995),
        use_noise=bool(options.get("use_noise", True)),
    )
    return Described(config, shape_of(options), _renamed(network, GENERATOR, where))


def describe_discriminator(network: TensorFlowNetwork, where: str) -> Described[DiscriminatorConfig]:
    """As `describe_generator`"""
    options = _options(network, where)
    options.choice("nonlinearity", ("lrelu",), "lrelu")
    channel_base, channel_max = _channels(options)
    config = DiscriminatorConfig(
        architecture=options.choice("architecture", ARCHITECTURES, "resnet"),
        mapping_layers=options.whole("mapping_layers", 0, MAX_LAYERS, 0),
        mapping_lr_multiplier=options.number("mapping_lrmul", 1e-6, 1e6, 0.1),
        channel_base=channel_base,
        channel_max=channel_max,
        conv_clamp=clamp_of(options, None),
        mbstd_group_size=options.whole("mbstd_group_size", 1, MAX_WIDTH, 4),
        mbstd_num_channels=options.whole("mbstd_num_features", 0, MAX_WIDTH, 1),
    )
    return Described(config, shape_of(options), _renamed(network, DISCRIMINATOR, where))


def _options(network: TensorFlowNetwork, where: str) -> Settings:
    version = network.state.get("version")
    if type(version) is not int or version < MIN_VERSION:
        raise OfficialFileError(
            f"{where} is of version {printable(version)} of the TensorFlow format; "
            f"StyleGAN2 has {MIN_VERSION} or later, and earlier networks are other architectures"
        )
    kwargs = as_dict(network.state.get("static_kwargs"))
    options = {"img_channels": 1, "img_resolution": 32, "c_dim": 0}  # the defaults of TensorFlow's constructors
    return Settings(where, {}, options | {NAMES.get(name, name): value for name, value in kwargs.items()})


def _channels(options: Settings) -> tuple[int, int]:
    if options.number("fmap_decay", 0, 10, 1) != 1 or options.number("fmap_min", 0, MAX_WIDTH, 1) > 1:
        raise OfficialFileError(f"{options.where}: fmap_decay and fmap_min other than 1 are not supported")
    return 2 * options.whole("fmap_base", 1, 2**29, 16384), options.whole("fmap_max", 1, MAX_WIDTH, 512)


def _variables(network: TensorFlowNetwork, where: str) -> Iterator[tuple[str, ArrayRecord]]:
    """Variables of a network and of its components"""
    parts = [network, *(as_dict(network.state.get("components")).get(name) for name in COMPONENTS)]
    for part in parts:
        variables = part.state.get("variables") if isinstance(part, TensorFlowNetwork) else []
        for pair in variables if isinstance(variables, list) else []:
            if type(pair) is not tuple or len(pair) != 2 or not isinstance(pair[1], ArrayRecord):
                raise OfficialFileError(f"{where}: a variable that is not a pair of name and array")
            name = pair[0]
            if type(name) is not str or len(name) > 100:
                raise OfficialFileError(f"{where}: a variable without a name")
            yield name.partition("/")[2] if name.startswith(tuple(f"G_{c}/" for c in COMPONENTS)) else name, pair[1]


def _renamed(network: TensorFlowNetwork, rules: list[Rule], where: str) -> dict[str, Weights]:
    found: dict[str, Weights] = {}
    for name, array in _variables(network, where):
        noise = re.fullmatch(r"noise(\d{1,2})", name)
        if name in IGNORED:
            continue
        if name == "LabelConcat/weight":
            raise OfficialFileError(f"{where} takes labels as StyleGAN2 did before ADA, which is not supported")
        if noise and rules is GENERATOR:
            found[_noise_name(int(noise[1]))] = NOISE.of(array, f"{where}/{name}")
            continue
        for pattern, target, arrangement in rules:
            match = re.fullmatch(pattern, name, re.ASCII)
            if match:
                parts = [LAYERS.get(part, part) for part in match.groups()]
                found[target.format(*parts)] = arrangement.of(array, f"{where}/{name}")
                break
        else:
            raise OfficialFileError(f"{where} has a variable {printable(name)}, which StyleGAN2 does not have")
    return found


def _noise_name(index: int) -> str:
    """noise0 belongs to 4 x 4, noise1 and noise2 to 8 x 8, and so on"""
    layer = "conv0" if index % 2 else "conv1"
    return f"synthesis.b{2 ** (2 + (index + 1) // 2)}.{layer}.noise_const"
