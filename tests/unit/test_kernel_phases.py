"""Gradients of all four phases of training with kernels against those of stock torch, R1 and path length included.

Interpreted on the CPU, and compiled where there is CUDA.
"""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from pipelines.params import Params
from stylegan.config import sections
from stylegan.ops import kernels
from stylegan.state import TrainState
from stylegan.step import Trainer
from tests.kernels import Kernels

PHASES = ("Gmain", "Greg", "Dmain", "Dreg")
SMALLEST = (
    "generator.channel_base=16",
    "discriminator.channel_base=16",
    "generator.mapping_layers=1",
    "discriminator.mapping_layers=1",
    "augment.mode=none",
    "loss.pl_batch_shrink=1",
    "loss.r1_gamma=1",
)
# Of the norm of all gradients. Float32 rounds at 6e-8, in some ten layers one after the other; 2e-7 to 6e-7 were seen.
FP32 = 2e-6
Gradients = dict[str, Tensor | None]
Make = Callable[..., Params]


def gradients(
    params: Params, num_classes: int, device: torch.device, mode: sections.Kernels, phases: Sequence[str] = PHASES
) -> dict[str, Gradients]:
    """Of every parameter that learns, by phase, without a step between them"""
    with kernels.using(mode):
        return {phase: _gradients(phase, params, num_classes, device) for phase in phases}


def _gradients(phase: str, params: Params, num_classes: int, device: torch.device) -> Gradients:
    state = TrainState.create(params, img_resolution=8, img_channels=3, c_dim=num_classes, device=device)
    torch.manual_seed(6)  # of a well-conditioned path length: with 5, stock torch is 7e-6 from float64
    for name, param in [*state.G.named_parameters(), *state.D.named_parameters()]:
        if name.endswith(("bias", "noise_strength")):
            param.data += 0.1 * torch.randn(param.shape).to(device)
    for optimizer in (state.opt_g, state.opt_d):
        optimizer.step = lambda *_: None  # type: ignore[method-assign]
    batch = params.train.batch_size
    img, c = torch.randn(batch, 3, 8, 8).clamp(-1, 1).to(device), torch.ones(batch, num_classes, device=device)
    trainer = Trainer(state, lambda n: c[:n])
    updates: dict[str, Callable[[], None]] = {
        "Gmain": trainer.update_g,
        "Greg": trainer.regularize_g,
        "Dmain": lambda: trainer.update_d(img, c),
        "Dreg": lambda: trainer.regularize_d(img, c),
    }
    updates[phase]()
    net: nn.Module = state.G if phase.startswith("G") else state.D
    return {name: param.grad for name, param in net.named_parameters()}


def distance(want: Gradients, got: Gradients) -> float:
    """Of the gradients of all parameters that both have, relative to their norm"""
    pairs = [(a, b) for a, b in zip(want.values(), got.values(), strict=True) if a is not None and b is not None]
    apart = torch.cat([(a - b).flatten() for a, b in pairs])
    return float(apart.norm() / torch.cat([a.flatten() for a, _ in pairs]).norm())


def without(grads: Gradients) -> set[str]:
    """Names of parameters that have no gradient"""
    return {name for name, grad in grads.items() if grad is None}


@pytest.mark.parametrize(
    ("of_g", "of_d", "num_classes", "batch"),
    [("skip", "resnet", 0, 2), ("resnet", "skip", 1, 1), ("orig", "orig", 0, 1)],
)
def test_gradients_of_all_phases(
    of_g: str, of_d: str, num_classes: int, batch: int, kernel_device: torch.device, make_params: Make
) -> None:
    architectures = f"generator.architecture={of_g}", f"discriminator.architecture={of_d}"
    params = make_params(*SMALLEST, *architectures, f"train.batch_size={batch}", f"train.batch_gpu={batch}")
    want = gradients(params, num_classes, kernel_device, "stock")
    with Kernels() as ran:
        got = gradients(params, num_classes, kernel_device, "auto")
    assert "scale_bias_act_double_backward" in ran.names
    for phase in PHASES:
        assert distance(want[phase], got[phase]) < FP32, phase
        if phase != "Dreg":
            assert without(want[phase]) == without(got[phase])
    # Of a bias that R1 does not depend on, stock torch computes a gradient of zeros.
    assert without(want["Dreg"]) <= without(got["Dreg"])
    for name in without(got["Dreg"]) - without(want["Dreg"]):
        assert not want["Dreg"][name].any(), name  # type: ignore[union-attr]


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 1e-2), ("bf16", 1e-1)])
def test_gradients_in_half_precision(
    precision: str, tolerance: float, kernel_device: torch.device, make_params: Make
) -> None:
    """Kernels round less often than stock torch, so they are compared with float32."""
    clamps = "generator.conv_clamp=256", "discriminator.conv_clamp=256"
    params = make_params(*SMALLEST, *clamps, "train.batch_size=1", "train.batch_gpu=1")
    half = make_params(*SMALLEST, *clamps, "train.batch_size=1", "train.batch_gpu=1", f"train.precision={precision}")
    phases = ("Greg", "Dreg")  # whose backward passes are those of the others too
    want = gradients(params, 0, kernel_device, "stock", phases)
    got = gradients(half, 0, kernel_device, "auto", phases)
    for phase in phases:
        assert distance(want[phase], got[phase]) < tolerance, phase
