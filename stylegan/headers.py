"""What a file of networks says of itself, checked before any network is built from it: types, ranges, shapes."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import torch
from pydantic import AfterValidator, BeforeValidator, Field
from torch import nn

from stylegan.config import ConfigError, Section, parse
from stylegan.config.pyramid import Resolution, sides
from stylegan.config.sections import (
    MAX_LAYERS,
    MAX_WIDTH,
    GeneratorConfig,
    Probability,
    Width,
    read_resolution,
)
from stylegan.networks import Discriminator, Generator
from stylegan.tensor_files import CheckpointError, Kind, TensorFile
from stylegan.text import visible

BEFORE_STYLE_BLOCKS = {"style_block": "demodulation"}  # what files mean that are older than this key
H = TypeVar("H", bound=Section)
Names = Annotated[list[Annotated[str, Field(max_length=1000), AfterValidator(visible)]], Field(max_length=MAX_WIDTH)]


class NetworkShape(Section):
    """The arguments next to its section of the configuration that build a network."""

    img_resolution: Annotated[Resolution, BeforeValidator(read_resolution)]
    img_channels: Width
    c_dim: Annotated[int, Field(ge=0, le=MAX_WIDTH)]
    level: Annotated[float, Field(ge=0, le=MAX_LAYERS)] | None = None  # that a network that grows has reached


class Described(Section):
    """One network in a file."""

    shape: NetworkShape
    config: dict[str, Any]


class StateHeader(Section):
    """Of a training checkpoint."""

    class Position(Section):
        cur_nimg: Annotated[int, Field(ge=0)]
        p: Probability
        shape: NetworkShape

    state: Position
    config: dict[str, dict[str, Any]]


class GeneratorHeader(Section):
    """Of a generator file."""

    generator: NetworkShape
    config: dict[str, Any]
    class_names: Names | None = None


class NetworksHeader(Section):
    """Of networks that training can start from."""

    class Networks(Section):
        G: Described | None = None
        D: Described | None = None
        G_ema: Described | None = None
        augment_p: Probability | None
        source: str

    networks: Networks


def read_header(file: TensorFile, model: type[H]) -> H:
    """The metadata of a file as a model. Raises CheckpointError that names the value that does not fit."""
    try:
        values = {key: json.loads(file.metadata[key]) for key in model.model_fields if key in file.metadata}
        return parse(model, values, str(file.path))
    except (ValueError, RecursionError) as error:
        reason = (
            str(error).splitlines()[0] if isinstance(error, ConfigError) else f"{file.path}: its header is not JSON"
        )
        raise CheckpointError(f"{reason[:1000]}. The file is damaged or made by hand; use the original.") from None


def plan_generator(file: TensorFile, prefix: str, described: Described) -> Generator:
    """The generator that a file describes, without memory for its weights

    Raises CheckpointError if the tensors in the file are not those of this network. A header alone would decide how
    much is allocated, so it has to agree with the tensors that the file really holds.
    """
    try:
        config = parse(GeneratorConfig, BEFORE_STYLE_BLOCKS | described.config, str(file.path))
        if config.channel_base < max(sides(described.shape.img_resolution)):
            raise ValueError(
                f"channel_base {config.channel_base} leaves no channel at {described.shape.img_resolution}"
            )
        with torch.device("meta"):
            G = Generator(config, **described.shape.model_dump(exclude_none=True))
    except ValueError as error:
        reason = str(error).splitlines()[0].removeprefix(f"{file.path}: ")
        raise CheckpointError(f"{file.path}: {reason[:1000]}. Use a file that this project wrote.") from None
    check_fit(file, prefix, G)
    return G


def check_fit(file: TensorFile, prefix: str, net: Generator | Discriminator) -> None:
    """Raises CheckpointError that names the first tensor of a network that the file lacks or has in another shape."""
    found = {name.removeprefix(prefix): kind for name, kind in file.kinds.items() if name.startswith(prefix)}
    differing = first_difference(found, kinds_of(net))
    if differing is not None:
        name, got, want = differing
        raise CheckpointError(
            f"{file.path}: {prefix}{name} is {got} on disk but {want} in the network that its header describes. "
            "The file is damaged or made by hand; use the original."
        )


def kinds_of(net: nn.Module) -> dict[str, Kind]:
    """Type and shape of each tensor of a network"""
    return {name: Kind(tensor.dtype, tuple(tensor.shape)) for name, tensor in net.state_dict().items()}


def first_difference(found: Mapping[str, Kind], wanted: Mapping[str, Kind]) -> tuple[str, str, str] | None:
    """(name, kind on disk, kind wanted) of the first tensor that differs; None if all agree"""
    for name in sorted(found.keys() | wanted.keys()):
        got, want = found.get(name), wanted.get(name)
        if got != want:
            return name, *("not there" if kind is None else str(kind) for kind in (got, want))  # type: ignore[return-value]
    return None
