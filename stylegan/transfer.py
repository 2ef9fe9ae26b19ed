"""Starts a training from networks that exist: what is loaded, adapted, left fresh or ignored, tensor by tensor.

Tensors are matched by their state-dict names. Where only the number of labels changed, a policy adapts what depends on
it. w w_dim, n and m old and new c_dim, O features of a label's map, F features of an image.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from stylegan.checkpoint import Networks
from stylegan.config.augmentation import adapts
from stylegan.networks import Discriminator, Generator
from stylegan.networks.layers import MappingNetwork, normalize_2nd_moment
from stylegan.state import TrainState
from stylegan.tensor_files import CheckpointError

Action = Literal["loaded", "adapted", "initialised", "skipped"]
Policy = Literal["reinit", "average", "tile"]
ACTIONS: tuple[Action, ...] = ("loaded", "adapted", "initialised", "skipped")
Tensors = Mapping[str, Tensor]
STYLE_OF_CONSTANT = "synthesis.b4.style.bias"  # which generators of AdaIN blocks alone have


@dataclass(frozen=True)
class Entry:
    """What became of one tensor, and why where it was not simply loaded."""

    name: str  # with its network: D.b16.conv0.weight
    action: Action
    reason: str


@dataclass(frozen=True)
class Report:
    """What a transfer did."""

    source: str
    entries: list[Entry]
    p: float | None  # augmentation probability taken from the file

    def lines(self) -> Iterator[str]:
        """For people: the counts of each network, and every tensor that was not simply loaded"""
        yield f"starting from {self.source}" + ("" if self.p is None else f", with p = {self.p:g}")
        for net in ("G", "D", "G_ema"):
            mine = [entry for entry in self.entries if entry.name.startswith(f"{net}.")]
            counts = Counter(entry.action for entry in mine)
            yield f"{net}: " + ", ".join(f"{counts[action]} {action}" for action in ACTIONS)
            if counts["initialised"] < len(mine):
                yield from (f"  {entry.name} {entry.action}: {entry.reason}" for entry in mine if entry.reason)

    def as_json(self) -> dict[str, Any]:
        """Plain values, to write to a file"""
        return asdict(self)


@torch.no_grad()
def transfer(state: TrainState, saved: Networks, policy: Policy) -> Report:
    """Load what fits into a fresh state, in place: networks, and p where it adapts. Optimisers and position stay fresh.

    A file without G has G_ema in its place, and the other way round, which `source` of the report then says.
    Raises CheckpointError if not one weight of G fits, or its style blocks mean other things.
    """
    sources = {"G": saved.G or saved.G_ema, "D": saved.D, "G_ema": saved.G_ema or saved.G}
    block = "adain" if STYLE_OF_CONSTANT in sources["G"] else "demodulation"
    if sources["G"] and block != state.config.generator.style_block:
        raise CheckpointError(
            f"{saved.path}: its style blocks are {block}, in which weights of the same names mean other things. "
            f"Set generator.style_block to {block}, or train.resume_from to null."
        )
    source = saved.source + ("" if saved.G else "; G is its G_ema") + ("" if saved.G_ema else "; G_ema is its G")
    entries = []
    for prefix, tensors in sources.items():
        net: Generator | Discriminator = getattr(state, prefix)
        try:
            replaced = adapted(tensors, net, policy)
        except (KeyError, IndexError, TypeError, RuntimeError) as error:
            reason = str(error).split("\n")[0]
            raise CheckpointError(
                f"{saved.path}: the tensors of {prefix} that see labels do not fit together ({reason}). "
                "The file is damaged or made by hand; use the original."
            ) from None
        values, found = match(tensors, net.state_dict(), replaced)
        net.load_state_dict(values, strict=False)
        entries += [Entry(f"{prefix}.{entry.name}", entry.action, entry.reason) for entry in found]
    weights = [entry for entry in entries if entry.name.startswith("G.") and entry.name.endswith(".weight")]
    if not any(entry.action == "loaded" for entry in weights):
        raise CheckpointError(
            f"{saved.path}: no weight of its generator fits, so nothing would be transferred. Give the sections "
            "generator and prepare.resolution the values that it was trained with, or set train.resume_from to null."
        )
    p = None
    if adapts(state.config.augment) and saved.augment_p is not None:
        p = state.p = min(saved.augment_p, state.config.augment.p_max)
    return Report(source, entries, p)


def match(saved: Tensors, fresh: Tensors, replaced: Mapping[str, tuple[Tensor, str]]) -> tuple[Tensors, list[Entry]]:
    """Values for the tensors of a network, and what was done with each

    replaced holds values that a policy made from the file, with its reason; they win.
    """
    values: dict[str, Tensor] = {}
    entries = []
    for name, want in fresh.items():
        got = saved.get(name)
        if name in replaced:
            values[name], reason = replaced[name]
            entries.append(Entry(name, "adapted", reason))
        elif got is None:
            entries.append(Entry(name, "initialised", "not in the file"))
        elif got.shape != want.shape:
            entries.append(Entry(name, "initialised", f"{list(got.shape)} in the file, {list(want.shape)} here"))
        else:
            values[name] = got
            entries.append(Entry(name, "loaded", ""))
    entries += [Entry(name, "skipped", "not in this network") for name in saved if name not in fresh]
    return values, entries


def adapted(saved: Tensors, net: Generator | Discriminator, policy: Policy) -> dict[str, tuple[Tensor, str]]:
    """Values for what depends on the number of labels, where it changed: by name, with the reason

    reinit   all that sees labels starts fresh
    average  every new class starts as the average of the old ones; without labels there is one class
    tile     new class i starts as old class i mod n
    Functions are kept exactly: gains that depend on the number of inputs are made up for.
    """
    if not saved:
        return {}
    embed = saved.get("mapping.embed.weight")
    n, m = 0 if embed is None else embed.shape[1], net.c_dim
    if n == m:
        return {}
    reason = f"{policy}: {n or 'no'} labels in the file, {m or 'none'} here"
    if n and m:
        return {} if policy == "reinit" else _fitting(net, _embedding(saved, m, policy), reason)
    if isinstance(net, Generator):
        values = _with_labels(saved, net, policy) if m else _without_labels(saved, net, policy)
        return _fitting(net, values, reason)
    if policy == "reinit" or not {"b4.out.weight", "b4.out.bias"} <= saved.keys():
        return {}
    return _fitting(net, _projected(saved, net) if m else _unprojected(saved, net, policy), reason)


def _fitting(net: nn.Module, values: Tensors, reason: str) -> dict[str, tuple[Tensor, str]]:
    """Values whose shape is the network's; another may differ for more than its labels, and is then reported so"""
    fresh = net.state_dict()
    return {name: (value, reason) for name, value in values.items() if fresh[name].shape == value.shape}


def _embedding(saved: Tensors, m: int, policy: Policy) -> dict[str, Tensor]:
    """Columns of the embedding for m classes instead of n; FullyConnected divides by the root of their number."""
    weight = saved["mapping.embed.weight"]  # [w, n]
    n = weight.shape[1]
    columns = weight.mean(dim=1, keepdim=True).expand(-1, m) if policy == "average" else weight[:, torch.arange(m) % n]
    return {"mapping.embed.weight": columns * math.sqrt(m / n)}


def _with_labels(saved: Tensors, G: Generator, policy: Policy) -> dict[str, Tensor]:
    """First layer of the mapping with columns for labels: fresh ones, or zeros, which change no image at first."""
    weight = saved.get("mapping.fc0.weight")  # [w, z_dim]
    if weight is None or G.mapping.num_layers == 0 or weight.shape != (G.w_dim, G.z_dim):
        return {}
    fresh = G.mapping.get_parameter("fc0.weight").cpu()  # [w, z_dim + w]
    columns = fresh[:, G.z_dim :] if policy == "reinit" else torch.zeros_like(fresh[:, G.z_dim :])
    gain = math.sqrt(fresh.shape[1] / weight.shape[1])
    return {"mapping.fc0.weight": torch.cat([weight * gain, columns], dim=1)}


def _without_labels(saved: Tensors, G: Generator, policy: Policy) -> dict[str, Tensor]:
    """First layer of the mapping without columns for labels: their part becomes a bias, or is dropped by reinit."""
    weight, bias = saved.get("mapping.fc0.weight"), saved.get("mapping.fc0.bias")  # [w, z_dim + w], [w]
    if weight is None or bias is None or weight.shape != (len(bias), G.z_dim + len(bias)) or G.mapping.num_layers == 0:
        return {}
    values = {"mapping.fc0.weight": weight[:, : G.z_dim] * math.sqrt(G.z_dim / weight.shape[1])}
    if policy != "reinit":
        embed = saved["mapping.embed.weight"]  # [w, n]
        rows = embed.t() / math.sqrt(embed.shape[1]) + saved["mapping.embed.bias"]
        y = _of_class(normalize_2nd_moment(rows), policy)  # [w]
        # The multiplier of weights and of biases is the same, so it cancels.
        values["mapping.fc0.bias"] = bias + weight[:, G.z_dim :] @ y / math.sqrt(weight.shape[1])
    return values


def _projected(saved: Tensors, D: Discriminator) -> dict[str, Tensor]:
    """Output with one row for each feature of a label's map, whose map is 1 at first: no logit changes.

    The rows stay as different as fresh ones, else their gradients would keep them equal for ever.
    """
    weight, bias = saved["b4.out.weight"], saved["b4.out.bias"]  # [1, F], [1]
    rows = D.b4.out.weight.cpu()  # [O, F]
    if weight.shape != (1, rows.shape[1]):
        return {}
    root = math.sqrt(len(rows))
    layers = D.mapping.num_layers
    last, map_gain = ("embed", 1.0) if layers == 0 else (f"fc{layers - 1}", math.sqrt(2))
    final = D.mapping.get_submodule(last)
    return {
        "b4.out.weight": rows + (weight / root - rows.mean(dim=0)),
        "b4.out.bias": (bias / root).expand(len(rows)),
        f"mapping.{last}.weight": torch.zeros_like(final.get_parameter("weight")).cpu(),
        f"mapping.{last}.bias": torch.full((len(rows),), 1 / (map_gain * _bias_gain(final))),
    }


def _unprojected(saved: Tensors, D: Discriminator, policy: Policy) -> dict[str, Tensor]:
    """Output row for the class that stands for all: logits are linear in the label's map."""
    weight, bias = saved["b4.out.weight"], saved["b4.out.bias"]  # [O, F], [O]
    labels = {name[8:]: tensor for name, tensor in saved.items() if name.startswith("mapping.")}
    n, layers = labels["embed.weight"].shape[1], sum(name.endswith(".weight") for name in labels) - 1
    multiplier = D.config.mapping_lr_multiplier
    mapping = MappingNetwork(0, n, len(weight), 0, layers, multiplier, average=False)
    mapping.load_state_dict(labels)
    scale = _of_class(mapping(None, torch.eye(n)), policy) / math.sqrt(len(weight))  # [O]
    return {"b4.out.weight": (scale @ weight)[None], "b4.out.bias": (scale @ bias)[None]}


def _of_class(rows: Tensor, policy: Policy) -> Tensor:
    """The one class that is left  [n, w] -> [w]"""
    return rows.mean(dim=0) if policy == "average" else rows[0]


def _bias_gain(layer: nn.Module) -> float:
    gain = layer.bias_gain
    assert isinstance(gain, float)
    return gain
