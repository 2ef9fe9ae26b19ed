"""Micro-batches: gradients are averaged over them, so memory and not the result decides train.batch_gpu."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipelines.params import Params
from stylegan.state import TrainState
from stylegan.step import Trainer

Make = Callable[..., Params]
REAL = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
LATENTS = torch.randn(8, 8, generator=torch.Generator().manual_seed(2))
# Without what depends on the size of a micro-batch by definition: its groups, its mixing cut, its augmentations.
FIXED = ("augment.mode=none", "loss.style_mixing_prob=0.0", "discriminator.mbstd_num_channels=0", "train.batch_size=8")


def trainer(params: Params) -> Trainer:
    state = TrainState.create(params, img_resolution=16, img_channels=3, c_dim=0, device=torch.device("cpu"))
    for name, param in state.D.named_parameters():
        if name.endswith("bias"):  # they start at 0, where the slope of the leaky ReLU is decided by rounding
            param.add_(0.1)
    return Trainer(state, draw_c=lambda n: torch.zeros(n, 0))


def same_latents(monkeypatch: pytest.MonkeyPatch, net: Trainer) -> None:
    """Cut the same eight latents into micro-batches, and leave noise out."""
    position = 0

    def generate(n: int) -> tuple[Tensor, Tensor, Tensor]:
        nonlocal position
        z = LATENTS[position : position + n]
        position += n
        c = torch.zeros(n, 0)
        ws = net.state.G.mapping(z, c)
        return net.state.G.synthesis(ws, noise_mode="none"), c, ws

    monkeypatch.setattr(net, "generate", generate)


def gradients(params: Params, phase: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    net = trainer(params)
    same_latents(monkeypatch, net)
    if phase == "update_g":
        net.update_g()
        return {name: p.grad for name, p in net.state.G.named_parameters() if p.grad is not None}
    getattr(net, phase)(REAL, torch.zeros(8, 0))
    return {name: p.grad for name, p in net.state.D.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("phase", ["update_g", "update_d", "regularize_d"])
@pytest.mark.parametrize("batch_gpu", [4, 2, 1])
def test_gradients_do_not_depend_on_the_micro_batch(
    phase: str, batch_gpu: int, make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = (*FIXED, "discriminator.mbstd_group_size=1", "loss.pl_batch_shrink=1")
    whole = gradients(make_params(*shared, "train.batch_gpu=8"), phase, monkeypatch)
    pieces = gradients(make_params(*shared, f"train.batch_gpu={batch_gpu}"), phase, monkeypatch)
    assert whole.keys() == pieces.keys()
    largest = max(grad.abs().max().item() for grad in whole.values())
    differences = {name: (pieces[name] - grad).abs().max().item() / largest for name, grad in whole.items()}
    assert max(differences.values()) < 1e-5, differences  # fp32 sums of the same terms in another order


def test_statistics_do_not_depend_on_the_micro_batch(make_params: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    stats = []
    for batch_gpu in (8, 2):
        net = trainer(make_params(*FIXED, f"train.batch_gpu={batch_gpu}"))
        same_latents(monkeypatch, net)
        net.update_d(REAL, torch.zeros(8, 0))
        stats.append(net.stats.pop_means() | {"signs": net.state.sums[1].item()})
    assert stats[0] == pytest.approx(stats[1], rel=1e-5)  # fp32
