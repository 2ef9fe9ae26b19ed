"""The whole TrainState, the finished generator, and networks from elsewhere, as safetensors files.

Atomic, no pickle, versioned, with config. Each file is of one kind: state, generator, or networks.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from stylegan.distributed import rank
from stylegan.headers import (
    Described,
    GeneratorHeader,
    NetworksHeader,
    StateHeader,
    first_difference,
    plan_generator,
    read_header,
)
from stylegan.networks import Discriminator, Generator
from stylegan.state import TrainState
from stylegan.tensor_files import CHECKSUM, CheckpointError, Kind, TensorFile, open_tensors, write_tensors

VERSION = 1
LEAST = {"step": 1, "exp_avg_sq": 0}  # of what Adam remembers
Moments: TypeAlias = Mapping[Tensor, dict[str, Tensor]]  # what Adam remembers of each parameter


def save_checkpoint(state: TrainState, path: Path) -> None:
    """Write the whole state, so that a reader sees the old file or the new one, never a part."""
    moments = {"opt_g": state.opt_g.state, "opt_d": state.opt_d.state}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(state, moments)}
    position = {"cur_nimg": state.cur_nimg, "p": state.p, "shape": _shape(state.G)}
    _write(tensors, path, {"state": position, "config": state.config.model_dump(mode="json")})


@torch.no_grad()
def load_checkpoint(state: TrainState, path: Path) -> None:
    """Continue from a file, in place: networks, optimisers, p, the sums that move it, path length mean, position.

    Raises CheckpointError that names the first tensor that does not fit; the state is then as it was.
    """
    file = _open(path, "state")
    header = read_header(file, StateHeader)
    moments = {"opt_g": _room(state.G, file.kinds, "opt_g"), "opt_d": _room(state.D, file.kinds, "opt_d")}
    wanted = dict(_tensors(state, moments))
    kinds = {name: Kind(tensor.dtype, tuple(tensor.shape)) for name, tensor in wanted.items()}
    if (differing := first_difference(file.kinds, kinds)) is not None:
        name, got, want = differing
        raise CheckpointError(
            f"{path}: {name} is {got} on disk but {want} in this model; "
            f"{_difference(header.config, state.config.model_dump(mode='json'))}"
        )
    tensors = _sound(file)
    for name, tensor in wanted.items():
        tensor.copy_(tensors[name])
    for prefix, optimizer in (("opt_g", state.opt_g), ("opt_d", state.opt_d)):
        optimizer.state.clear()
        optimizer.state.update(moments[prefix])
    if rank() != 0:  # the file holds those of all ranks
        state.sums.zero_()
    state.p = header.state.p
    state.move_to(header.state.cur_nimg)


def save_generator(G: Generator, path: Path, class_names: Sequence[str] | None = None) -> None:
    """Write a generator with all that is needed to build it again, and the names of its classes if there are any."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in G.state_dict().items()}
    names = {} if class_names is None else {"class_names": list(class_names)}
    _write(tensors, path, {"generator": _shape(G), "config": G.config.model_dump(mode="json")} | names)


def load_generator(path: Path) -> Generator:
    """Read a generator for inference: fp32, eval mode, no gradients; of a networks file or training checkpoint, G_ema.

    Raises CheckpointError, FileNotFoundError.
    """
    file = _open(path, "generator", "networks", "state")
    prefix, described = _describe_generator(file)
    planned = plan_generator(file, prefix, described)
    G = Generator(planned.config, **_shape(planned))
    G.load_state_dict(_finite(file, prefix))
    return G.eval().requires_grad_(False)


def _describe_generator(file: TensorFile) -> tuple[str, Described]:
    """(prefix of the names of its tensors, shape and configuration)"""
    if "generator" in file.metadata:
        header = read_header(file, GeneratorHeader)
        return "", Described(shape=header.generator, config=header.config)
    if "state" in file.metadata:
        checkpoint = read_header(file, StateHeader)
        return "G_ema.", Described(shape=checkpoint.state.shape, config=checkpoint.config.get("generator", {}))
    described = read_header(file, NetworksHeader).networks.G_ema
    if described is None:
        raise CheckpointError(f"{file.path}: holds no G_ema, the network that draws images. Import another file.")
    return "G_ema.", described


def read_class_names(path: Path) -> list[str] | None:
    """Names of the classes of a generator file, None if it has none. Raises as `load_generator`."""
    file = _open(path, "generator", "networks", "state")
    if "generator" not in file.metadata:
        return None
    header = read_header(file, GeneratorHeader)
    if header.class_names is not None and header.generator.c_dim not in (0, len(header.class_names)):
        raise CheckpointError(
            f"{path}: names {len(header.class_names)} classes, but its generator has {header.generator.c_dim}. "
            "The file is damaged or made by hand; use the original."
        )
    return header.class_names


@dataclass(frozen=True)
class Networks:
    """Tensors of the networks in a file, by their state-dict names; empty where the file lacks the network."""

    path: Path
    G: dict[str, Tensor]
    D: dict[str, Tensor]
    G_ema: dict[str, Tensor]
    augment_p: float | None  # augmentation probability when the file was written, where it says
    source: str  # where they come from, for people


def save_networks(
    path: Path,
    *,
    G: Generator | None,
    D: Discriminator | None,
    G_ema: Generator | None,
    augment_p: float | None,
    source: str,
) -> None:
    """Write networks that training can start from and, with G_ema, images can be drawn from."""
    nets = {name: net for name, net in (("G", G), ("D", D), ("G_ema", G_ema)) if net is not None}
    tensors = {
        f"{prefix}.{name}": tensor.detach().cpu().contiguous().clone()
        for prefix, net in nets.items()
        for name, tensor in net.state_dict().items()
    }
    described: dict[str, Any] = {
        name: {"shape": _shape(net), "config": net.config.model_dump(mode="json")} for name, net in nets.items()
    }
    _write(tensors, path, {"networks": described | {"augment_p": augment_p, "source": source}})


def load_networks(path: Path) -> Networks:
    """Read what training can start from: a training checkpoint, a generator file, or a networks file.

    Raises CheckpointError, FileNotFoundError.
    """
    file = _open(path, "state", "generator", "networks")
    if "generator" in file.metadata:
        read_header(file, GeneratorHeader)
        source = f"generator file {path.name}"
        return Networks(path, G={}, D={}, G_ema=_finite(file), augment_p=None, source=source)
    if "state" in file.metadata:
        position = read_header(file, StateHeader).state
        source = f"training checkpoint {path.name} at {position.cur_nimg / 1000:g} kimg"
        return Networks(path, **_networks(file), augment_p=position.p, source=source)
    networks = read_header(file, NetworksHeader).networks
    return Networks(path, **_networks(file), augment_p=networks.augment_p, source=networks.source)


def _networks(file: TensorFile) -> dict[str, dict[str, Tensor]]:
    return {net: _finite(file, f"{net}.") for net in ("G", "D", "G_ema")}


def _shape(net: Generator | Discriminator) -> dict[str, Any]:
    """The arguments next to its section of the configuration that build a network"""
    level = {} if net.level is None else {"level": net.level}
    return {"img_resolution": net.img_resolution, "img_channels": net.img_channels, "c_dim": net.c_dim} | level


def _tensors(state: TrainState, moments: Mapping[str, Moments]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the state under its name in the file"""
    for prefix in ("G", "D", "G_ema"):
        for name, tensor in getattr(state, prefix).state_dict().items():
            yield f"{prefix}.{name}", tensor
    for prefix, net in (("opt_g", state.G), ("opt_d", state.D)):
        for name, param in net.named_parameters():
            for key, value in moments[prefix].get(param, {}).items():
                yield f"{prefix}.{name}.{key}", value
    yield ("logit_sums" if state.config.augment.mode == "ada_rv" else "signs"), state.sums
    yield "pl_mean", state.pl_mean


def _room(net: nn.Module, saved: Mapping[str, Kind], prefix: str) -> Moments:
    """Empty moments for Adam where the file holds some; it makes its own only at its first step."""
    return {
        param: {
            "step": torch.zeros([], device=param.device),
            "exp_avg": torch.zeros_like(param, memory_format=torch.preserve_format),
            "exp_avg_sq": torch.zeros_like(param, memory_format=torch.preserve_format),
        }
        for name, param in net.named_parameters()
        if f"{prefix}.{name}.step" in saved
    }


def _write(tensors: dict[str, Tensor], path: Path, meta: dict[str, Any]) -> None:
    header = {"version": str(VERSION)} | {key: json.dumps(value, sort_keys=True) for key, value in meta.items()}
    write_tensors(path, tensors, header)


def _open(path: Path, *kinds: str) -> TensorFile:
    """The header of a file of one of these kinds"""
    file = open_tensors(path)
    header = file.metadata
    if not header.keys() & set(kinds) or header.get("version") != str(VERSION):
        expected = " or ".join(repr(kind) for kind in kinds)
        held = sorted(header.keys() - {CHECKSUM}) or "no metadata"
        raise CheckpointError(
            f"{path}: holds {held} of version {header.get('version')}, expected {expected} of version {VERSION}. "
            "A training checkpoint contains a generator, but training cannot resume from a generator file."
        )
    return file


def _finite(file: TensorFile, prefix: str = "") -> dict[str, Tensor]:
    """Tensors whose names begin with a prefix, without it"""
    tensors = file.read(prefix)
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"{file.path}: {prefix}{name} holds values that are not finite; the training had diverged or the file "
                "is damaged. Use an earlier snapshot."
            )
    return tensors


def _sound(file: TensorFile) -> dict[str, Tensor]:
    """Tensors of a state: finite, and with moments that Adam can have"""
    tensors = _finite(file)
    for name, tensor in tensors.items():
        least = LEAST.get(name.rpartition(".")[2])
        if least is not None and name.startswith(("opt_g.", "opt_d.")) and bool((tensor < least).any()):
            raise CheckpointError(
                f"{file.path}: {name} holds {tensor.min().item():g}, expected {least} or more; the file is damaged. "
                "Use an earlier snapshot."
            )
    return tensors


def _difference(saved: dict[str, Any], now: dict[str, Any]) -> str:
    """The parameters in which two configurations differ, in words"""
    changes = [
        f"{section}.{key}={value} when saved, now {now[section][key]}"
        for section, values in saved.items()
        for key, value in values.items()
        if section in now and now[section].get(key) != value
    ]
    return "; ".join(changes) or "its settings are the same, so the dataset or the version of the code differs"
