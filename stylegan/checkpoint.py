"""The whole TrainState, the finished generator, and networks from elsewhere, as safetensors files.

Atomic, no pickle, versioned, with config. Each file is of one kind: state, generator, or networks.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from stylegan.config import parse
from stylegan.config.sections import GeneratorConfig
from stylegan.distributed import rank
from stylegan.files import replacing
from stylegan.networks import Discriminator, Generator
from stylegan.state import TrainState

VERSION = 1
BEFORE_STYLE_BLOCKS = {"style_block": "demodulation"}  # what files mean that are older than this key
Moments: TypeAlias = Mapping[Tensor, dict[str, Tensor]]  # what Adam remembers of each parameter


class CheckpointError(ValueError):
    """A file is not a checkpoint, or not one of this model; the message names the tensor and both sides."""


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
    tensors, meta = _read(path, "state")
    moments = {"opt_g": _room(state.G, tensors, "opt_g"), "opt_d": _room(state.D, tensors, "opt_d")}
    wanted = dict(_tensors(state, moments))
    for name in sorted(wanted.keys() | tensors.keys()):
        got, want = tensors.get(name), wanted.get(name)
        if got is None or want is None or got.shape != want.shape:
            sides = [("not there" if t is None else str(list(t.shape))) for t in (got, want)]
            raise CheckpointError(
                f"{path}: {name} is {sides[0]} on disk but {sides[1]} in this model; "
                f"{_difference(meta['config'], state.config.model_dump(mode='json'))}"
            )
    for name, want in wanted.items():
        want.copy_(tensors[name])
    for prefix, optimizer in (("opt_g", state.opt_g), ("opt_d", state.opt_d)):
        optimizer.state.clear()
        optimizer.state.update(moments[prefix])
    if rank() != 0:  # the file holds those of all ranks
        state.sums.zero_()
    state.p = meta["state"]["p"]
    state.move_to(meta["state"]["cur_nimg"])


def save_generator(G: Generator, path: Path, class_names: Sequence[str] | None = None) -> None:
    """Write a generator with all that is needed to build it again, and the names of its classes if there are any."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in G.state_dict().items()}
    names = {} if class_names is None else {"class_names": list(class_names)}
    _write(tensors, path, {"generator": _shape(G), "config": G.config.model_dump(mode="json")} | names)


def load_generator(path: Path) -> Generator:
    """Read a generator for inference: fp32, eval mode, no gradients; of a networks file or training checkpoint, G_ema.

    Raises CheckpointError, FileNotFoundError.
    """
    tensors, meta = _read(path, "generator", "networks", "state")
    if "state" in meta:
        meta = {"generator": meta["state"]["shape"], "config": meta["config"]["generator"]}
        tensors = _of(tensors, "G_ema")
    elif "networks" in meta:
        described = meta["networks"].get("G_ema")
        if described is None:
            raise CheckpointError(f"{path}: holds no G_ema, the network that draws pictures. Import another file.")
        meta = {"generator": described["shape"], "config": described["config"]}
        tensors = _of(tensors, "G_ema")
    config = parse(GeneratorConfig, BEFORE_STYLE_BLOCKS | meta["config"], str(path))
    G = Generator(config, **meta["generator"])
    G.load_state_dict(tensors)
    return G.eval().requires_grad_(False)


def read_class_names(path: Path) -> list[str] | None:
    """Names of the classes of a generator file, None when it has none. Raises as `load_generator`."""
    names: list[str] | None = _read(path, "generator", "networks", "state")[1].get("class_names")
    return names


@dataclass(frozen=True)
class Networks:
    """Tensors of the networks in a file, by their state-dict names; empty where the file lacks the network."""

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
    """Write networks that training can start from and, with G_ema, pictures can be drawn from."""
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
    tensors, meta = _read(path, "state", "generator", "networks")
    if "generator" in meta:
        return Networks(G={}, D={}, G_ema=tensors, augment_p=None, source=f"generator file {path.name}")
    nets = {prefix: _of(tensors, prefix) for prefix in ("G", "D", "G_ema")}
    if "state" in meta:
        position = meta["state"]
        source = f"training checkpoint {path.name} at {position['cur_nimg'] / 1000:g} kimg"
        return Networks(**nets, augment_p=position["p"], source=source)
    return Networks(**nets, augment_p=meta["networks"]["augment_p"], source=meta["networks"]["source"])


def _shape(net: Generator | Discriminator) -> dict[str, Any]:
    """The arguments beside its section of the configuration that build a network"""
    level = {} if net.level is None else {"level": net.level}
    return {"img_resolution": net.img_resolution, "img_channels": net.img_channels, "c_dim": net.c_dim} | level


def _of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it"""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


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


def _room(net: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> Moments:
    """Empty moments for Adam where the file holds some; it makes its own only at its first step."""
    return {
        param: {
            "step": torch.zeros([], device=param.device),
            "exp_avg": torch.zeros_like(param, memory_format=torch.preserve_format),
            "exp_avg_sq": torch.zeros_like(param, memory_format=torch.preserve_format),
        }
        for name, param in net.named_parameters()
        if f"{prefix}.{name}.step" in tensors
    }


def _write(tensors: dict[str, Tensor], path: Path, meta: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"version": str(VERSION)} | {key: json.dumps(value, sort_keys=True) for key, value in meta.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(_with_sorted_header(save(tensors, metadata=header)))


def _with_sorted_header(content: bytes) -> bytes:
    """safetensors orders its metadata at random; sorted, equal states give equal files, which DVC compares."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of 8
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _read(path: Path, *kinds: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file. `dvc repro train` makes models/generator.safetensors.")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file, or damaged ({error}). Use an earlier one.") from None
    if not header.keys() & set(kinds) or header.get("version") != str(VERSION):
        expected = " or ".join(repr(kind) for kind in kinds)
        raise CheckpointError(
            f"{path}: holds {sorted(header) or 'no metadata'} of version {header.get('version')}, expected "
            f"{expected} of version {VERSION}. "
            "A generator can be drawn from a training checkpoint, but training cannot go on from a generator."
        )
    return tensors, {key: json.loads(value) for key, value in header.items() if key != "version"}


def _difference(saved: dict[str, Any], now: dict[str, Any]) -> str:
    """The parameters in which two configurations differ, in words"""
    changes = [
        f"{section}.{key}={value} when saved, now {now[section][key]}"
        for section, values in saved.items()
        for key, value in values.items()
        if section in now and now[section].get(key) != value
    ]
    return "; ".join(changes) or "its parameters are the same, so the data set or the version of the code differs"
