"""Builds this project's networks and takes over the weights, name by name and shape by shape."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from stylegan.augment import AugmentPipe
from stylegan.config import ConfigError
from stylegan.config.sections import DiscriminatorConfig, GeneratorConfig, MultipliersConfig
from stylegan.networks import Discriminator, Generator
from stylegan.networks.layers import channels_at
from stylegan.official.errors import OfficialFileError, printable
from stylegan.official.records import Foreign, Module, TensorRecord, Weights, as_dict
from stylegan.official.settings import Settings, Shape

MAX_MODULES = 5000  # official networks have below 200
MAX_NAMES = 20_000  # of tensors and children, counted again for every module that shares a dict; they have below 1,000
MAX_DEPTH = 8
MAX_MULTIPLIER = 1e6
# What the published pipe draws from; files with other strengths are read, and the report says so.
STRENGTHS = {
    "xint_max": 0.125, "scale_std": 0.2, "rotate_max": 1, "aniso_std": 0.2, "xfrac_std": 0.125, "brightness_std": 0.2,
    "contrast_std": 0.5, "hue_max": 1, "saturation_std": 1, "imgfilter_std": 1, "noise_std": 0.1, "cutout_size": 0.5,
}  # fmt: skip

Net = TypeVar("Net", bound=nn.Module)


def weights_of(module: Module, where: str) -> tuple[dict[str, Weights], int]:
    """Tensors by state-dict name, and how many of them are frozen: Freeze-D moves weights from parameters to buffers"""
    found: dict[str, Weights] = {}
    frozen = names = 0
    for prefix, part in _modules(module, where):
        skipped = part.state.get("_non_persistent_buffers_set")
        for kind in ("_parameters", "_buffers"):
            named = as_dict(part.state.get(kind))
            names += len(named)
            if names > MAX_NAMES:
                raise OfficialFileError(f"{where} has more tensors than any official network")
            for name, value in named.items():
                if isinstance(value, TensorRecord) and not (isinstance(skipped, set) and name in skipped):
                    found[f"{prefix}{name}"] = value
                    frozen += kind == "_buffers" and name in ("weight", "bias")
    return found, frozen


def _modules(module: Module, where: str) -> Iterator[tuple[str, Module]]:
    """Every module below one, with the prefix of its names"""
    waiting = [("", 0, module)]
    count = names = 0
    while waiting:
        prefix, depth, part = waiting.pop()
        children = as_dict(part.state.get("_modules"))
        count, names = count + 1, names + len(children)
        if count > MAX_MODULES or names > MAX_NAMES or depth > MAX_DEPTH:
            raise OfficialFileError(f"{where} has more modules, or nests them deeper, than any official network")
        yield prefix, part
        for name, child in children.items():
            if isinstance(child, Foreign):
                raise OfficialFileError(
                    f"{where} holds a {printable(child.class_name)} of torch at {prefix}{printable(name)}, which the "
                    "published architecture does not have"
                )
            if isinstance(child, Module):
                waiting.append((f"{prefix}{printable(name)}.", depth + 1, child))


def build_generator(
    config: GeneratorConfig, shape: Shape, weights: Mapping[str, Weights], where: str, capacity: int
) -> Generator:
    """capacity: numbers that the file can hold at most. Raises OfficialFileError if a tensor does not fit."""
    widths = _widths(shape, config.channel_base, config.channel_max, where)
    features = config.z_dim + config.mapping_layers * config.w_dim + shape.c_dim + widths[0]
    needed = sum(9 * width**2 for width in widths) + features * config.w_dim + shape.img_channels * widths[0]
    _fits(needed, capacity, where)
    unmapped = config.z_dim + (config.w_dim if shape.c_dim else 0)
    if config.mapping_layers == 0 and unmapped != config.w_dim:
        raise OfficialFileError(
            f"{where}: a mapping of no layers makes {unmapped} numbers of z and c, not {config.w_dim}"
        )
    with _fresh_random_state():
        G = Generator(config, img_resolution=shape.img_resolution, img_channels=shape.img_channels, c_dim=shape.c_dim)
    return _fill(G, weights, where).eval()


def build_discriminator(
    config: DiscriminatorConfig, shape: Shape, weights: Mapping[str, Weights], where: str, capacity: int
) -> Discriminator:
    """As `build_generator`"""
    widths = _widths(shape, config.channel_base, config.channel_max, where)
    features = (16 + config.mapping_layers) * widths[0] + shape.c_dim + config.mbstd_num_channels * 9
    needed = sum(9 * width**2 for width in widths) + features * widths[0] + shape.img_channels * widths[0]
    _fits(needed, capacity, where)
    if config.mbstd_num_channels > 1 and widths[0] % config.mbstd_num_channels:
        raise OfficialFileError(f"{where}: {widths[0]} features in {config.mbstd_num_channels} mbstd_num_channels")
    with _fresh_random_state():
        D = Discriminator(
            config, img_resolution=shape.img_resolution, img_channels=shape.img_channels, c_dim=shape.c_dim
        )
    return _fill(D, weights, where).eval()


def _widths(shape: Shape, channel_base: int, channel_max: int, where: str) -> list[int]:
    """Channels from 4 x 4 to the image"""
    if channel_base < shape.img_resolution:
        raise OfficialFileError(
            f"{where}: channel_base {channel_base} leaves no channel at {shape.img_resolution} pixels"
        )
    levels = range(2, shape.img_resolution.bit_length())
    return [channels_at(2**level, channel_base, channel_max) for level in levels]


def _fits(needed: int, capacity: int, where: str) -> None:
    if needed > capacity:
        raise OfficialFileError(f"{where} would need {needed} numbers, but the whole file has room for {capacity}")


def _fresh_random_state() -> Any:
    """Networks draw weights when built, which are overwritten here; the caller's random numbers stay as they were"""
    return torch.random.fork_rng(devices=[])


@torch.no_grad()
def _fill(net: Net, weights: Mapping[str, Weights], where: str) -> Net:
    wanted = net.state_dict()
    unknown = sorted(weights.keys() - wanted.keys())
    if unknown:
        names = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if len(unknown) > 3 else "")
        raise OfficialFileError(f"{where} holds {names}, which the published architecture does not have")
    for name, tensor in wanted.items():
        found = weights.get(name)
        if found is None and name.endswith("resample_filter"):
            continue  # some tools strip them; they are the same in every network
        if found is None:
            raise OfficialFileError(f"{where}.{name} is missing")
        if found.shape != tuple(tensor.shape):
            raise OfficialFileError(
                f"{where}.{name} is {list(found.shape)}, but its arguments say {list(tensor.shape)}"
            )
        try:
            tensor.copy_(torch.from_numpy(found.array()))
        except OfficialFileError as error:
            raise OfficialFileError(f"{where}.{name}: {error}") from None
    return net


def build_pipe(module: Module, where: str) -> tuple[AugmentPipe, float, list[str]]:
    """-> the pipe, its probability p, and what of it is not taken over, in words"""
    settings = Settings(where, module.state, module.kwargs)
    names = list(MultipliersConfig.model_fields)
    multipliers = {name: settings.number(name, 0, MAX_MULTIPLIER, 0) for name in names}
    changed = [
        f"{name} {printable(settings.get(name, usual))} (here {usual:g})"
        for name, usual in STRENGTHS.items()
        if settings.get(name, usual) != usual
    ]
    bands = settings.get("imgfilter_bands", [1, 1, 1, 1])
    if bands != [1, 1, 1, 1]:
        changed.append("imgfilter_bands (here all 1)")
    record = as_dict(module.state.get("_buffers")).get("p")
    p = float(record.array()) if isinstance(record, TensorRecord) and record.shape == () else 1.0
    if p < 0:
        raise OfficialFileError(f"{where}.p is {p}, a negative probability")
    try:
        return AugmentPipe.from_multipliers(**multipliers), p, changed
    except ConfigError as error:
        raise OfficialFileError(f"{where}: {error}") from None
