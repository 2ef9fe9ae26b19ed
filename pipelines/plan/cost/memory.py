"""What training keeps in memory, counted on torch's `meta` device, where tensors have shapes and no bytes.

State: parameters, gradients and both Adams' moments of G and D, the averaged generator, and the flat gradients that one
all-reduce sends. Activations: what autograd keeps of the phase that keeps most.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipelines.params import Params
from stylegan import loss
from stylegan.augment import AugmentPipe, diffaugment
from stylegan.config.pyramid import sides
from stylegan.networks import Discriminator, Generator
from stylegan.networks.growing import largest_level
from stylegan.ops import kernels
from stylegan.state import DTYPES

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
    """Networks without labels; phases as in stylegan/step.py, of num_images, with every augmentation applied"""
    resolution, dtype = params.prepare.resolution, DTYPES[params.train.precision]
    with META:
        level = largest_level(params.train, resolution)
        G = Generator(
            params.generator, img_resolution=resolution, img_channels=img_channels, c_dim=0, dtype=dtype, level=level
        )
        D = Discriminator(
            params.discriminator, img_resolution=resolution, img_channels=img_channels, c_dim=0, dtype=dtype,
            level=level,
        )  # fmt: skip
    g_params, d_params = (sum(param.numel() for param in net.parameters()) for net in (G, D))
    weights = {param.untyped_storage()._cdata for net in (G, D) for param in net.parameters()}
    # A meta tensor does not say on which device it would be.
    used = params.train.kernels if params.cluster.use_gpu else "stock"
    phases = {}
    for name, step in _phases(params, G, D, num_images, (img_channels, *sides(resolution))).items():
        G.requires_grad_(name.startswith("G"))  # the network that does not learn keeps less
        D.requires_grad_(name.startswith("D"))
        with torch.random.fork_rng(devices=[]), kernels.using(used):  # the margins of augmentations are drawn
            torch.manual_seed(0)
            phases[name] = kept_bytes(step, weights)
    return Memory(g_params, d_params, phases)


def _phases(
    params: Params, G: Generator, D: Discriminator, n: int, image: tuple[int, int, int]
) -> dict[str, Callable[[], Tensor]]:
    pipe = AugmentPipe(params.augment.multipliers).to(META)

    def logits(img: Tensor | list[Tensor]) -> Tensor:
        if isinstance(img, list):
            out: Tensor = D(img, _labels(n))
            return out
        if params.augment.mode == "diffaugment":
            img = diffaugment(img, params.augment.diffaugment)
        elif params.augment.mode != "none":
            img = pipe(img, p=1.0)
        out = D(img, _labels(len(img)))
        return out

    def ws_of(count: int) -> Tensor:
        ws: Tensor = G.mapping(torch.empty(count, G.z_dim, device=META), _labels(count))
        return ws

    def real_img() -> Tensor:
        return torch.empty(n, *image, device=META)

    def path_length() -> Tensor:
        ws = ws_of(n // params.loss.pl_batch_shrink)
        penalty, _ = loss.path_length_penalty(G.synthesis(ws), ws, torch.zeros([], device=META), params.loss.pl_decay)
        return penalty

    def penalty() -> Tensor:
        img = real_img().requires_grad_()
        penalty_of = loss.gradient_penalty if params.loss.d_regularizer == "gp" else loss.r1_penalty
        return penalty_of(logits(img), img)

    phases = {"Gmain": lambda: logits(G.synthesis.shown(ws_of(n))), "Dmain": lambda: logits(real_img())}
    phases |= {"Greg": path_length} if params.loss.pl_weight > 0 else {}
    return phases | ({"Dreg": penalty} if loss.d_reg_weight(params.loss) > 0 else {})


def _labels(count: int) -> Tensor:
    return torch.empty(count, 0, device=META)


def kept_bytes(step: Callable[[], Tensor], weights: set[int]) -> int:
    """Bytes that autograd keeps for the backward pass of what `step` returns; each storage counts once, weights never.

    A second derivative keeps both its forward and its first backward pass.
    """
    kept = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # holding it keeps its address from being used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = step()  # in a name: the graph has to live while addresses are counted
    assert out.requires_grad
    return sum(storage.nbytes() for address, storage in kept.items() if address not in weights)
