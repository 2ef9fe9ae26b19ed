"""What training keeps in memory, counted on torch's `meta` device, where tensors have shapes and no bytes.

State: parameters, gradients and both Adams' moments of G and D, the averaged generator, and the flat gradients that one
all-reduce sends. Activations: what autograd keeps of the phase that keeps most.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.params import Params
from stylegan.config.pyramid import sides
from stylegan.loss import d_reg_weight
from stylegan.networks.growing import largest_level
from stylegan.ops import kernels
from stylegan.state import TrainState
from stylegan.step import Trainer

FLOAT = 4  # bytes; parameters, gradients and moments are float32 in every precision
META = torch.device("meta")


@dataclass(frozen=True)
class Memory:
    """Bytes on one worker. Workspace of libraries and fragmentation come on top."""

    g_params: int  # numbers, not bytes
    d_params: int
    phases: dict[str, int]  # activations of each phase

    @property
    def state(self) -> int:
        """(parameters + gradients + 2 moments) of G and D, G_ema, and a flat copy of the larger gradient"""
        both = self.g_params + self.d_params
        return FLOAT * (4 * both + self.g_params + max(self.g_params, self.d_params))

    @property
    def largest_phase(self) -> str:
        return max(self.phases, key=lambda name: self.phases[name])

    @property
    def activations(self) -> int:
        """Of the largest phase"""
        return self.phases[self.largest_phase]

    @property
    def total(self) -> int:
        return self.state + self.activations


def memory(params: Params, img_channels: int, num_images: int) -> Memory:
    """Networks without labels; the phases of stylegan/step.py, of num_images, with every augmentation applied"""
    # A meta tensor does not say on which device it would be.
    used = params.train.kernels if params.cluster.use_gpu else "stock"
    with torch.random.fork_rng(devices=[]), kernels.using(used):
        trainer = trainer_on_meta(params, img_channels, num_images)
        state = trainer.state
        g_params, d_params = (sum(param.numel() for param in net.parameters()) for net in (state.G, state.D))
        weights = {param.untyped_storage()._cdata for net in (state.G, state.D) for param in net.parameters()}
        found = {name: kept_bytes(phase, weights) for name, phase in _phases(trainer, img_channels).items()}
    return Memory(g_params, d_params, found)


def trainer_on_meta(params: Params, img_channels: int, num_images: int) -> Trainer:
    """One that takes num_images in one pass, at the largest level of growing networks and with p = 1"""
    train = params.train.model_copy(update={"batch_size": num_images, "batch_gpu": num_images})
    config, resolution = params.model_copy(update={"train": train}), params.prepare.resolution
    with META:
        state = TrainState.create(config, img_resolution=resolution, img_channels=img_channels, c_dim=0, device=META)
    for optimizer in ("opt_g", "opt_d"):  # of meta tensors there is no fused Adam, and its moments are counted above
        setattr(state, optimizer, torch.optim.SGD(getattr(state, optimizer).param_groups[0]["params"], lr=0.0))
    state.G.synthesis.level = state.D.level = largest_level(params.train, resolution)
    state.p = 1.0
    return Trainer(state, lambda n: torch.empty(n, 0, device=META))


def _phases(trainer: Trainer, img_channels: int) -> dict[str, Callable[[], object]]:
    config, n = trainer.config, trainer.config.train.batch_size
    img = torch.empty(n, img_channels, *sides(config.prepare.resolution), device=META)
    real_img, real_c = trainer.state.D.reduced(img), torch.empty(n, 0, device=META)
    phases: dict[str, Callable[[], object]] = {
        "Gmain": trainer.update_g,
        "Dmain": lambda: trainer.update_d(real_img, real_c),
    }
    phases |= {"Greg": trainer.regularize_g} if config.loss.pl_weight > 0 else {}
    return phases | ({"Dreg": lambda: trainer.regularize_d(real_img, real_c)} if d_reg_weight(config.loss) > 0 else {})


def kept_bytes(step: Callable[[], object], weights: set[int]) -> int:
    """The most bytes that autograd keeps at a time for the backward passes of `step`

    Each storage counts once, weights never. A second derivative keeps both its forward and its first backward pass.
    """
    kept = Kept(weights)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: Held(tensor, kept), lambda held: held.tensor):
        out = step()  # in a name: the graph of a result has to live while it is counted
    del out
    return kept.most


class Kept:
    """Bytes of the storages that somebody holds, now and at most so far."""

    def __init__(self, weights: set[int]) -> None:
        self.weights, self.holders = weights, Counter[int]()
        self.now = self.most = 0

    def change(self, storage: torch.UntypedStorage, holders: int) -> None:
        """Count one holder more or less"""
        address = storage._cdata
        before = self.holders[address]
        self.holders[address] += holders
        if address not in self.weights and (before == 0 or self.holders[address] == 0):
            self.now += holders * storage.nbytes()
            self.most = max(self.most, self.now)


class Held:
    """A tensor that autograd saved, until it lets go of it; holding it keeps its address from being used again."""

    def __init__(self, tensor: Tensor, kept: Kept) -> None:
        self.tensor, self.kept = tensor, kept
        kept.change(tensor.untyped_storage(), 1)

    def __del__(self) -> None:
        self.kept.change(self.tensor.untyped_storage(), -1)
