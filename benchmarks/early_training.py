"""How far the losses' gradients are from fp64 in bf16 and fp16 when D has just begun to tell images apart.

    python -m benchmarks.early_training 64 128 256       # pixels; two to six minutes each on one core

Narrow networks train on the built-in tiles in fp32 for NIMG images in batches of 8. The gradients are those of other
batches of the published size, of which PROBE images are looked at.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.precision import HALVES, all_double
from pipelines.params import Params, load
from pipelines.prepare import EARTH, prepare
from stylegan.data import ImageDataset
from stylegan.images import to_float
from stylegan.loss import discriminator_gen_loss, discriminator_real_loss, generator_loss, r1_penalty
from stylegan.networks import Discriminator, Generator
from stylegan.state import DTYPES, TrainState
from stylegan.train import train

NIMG, PROBE = 200, 4
BATCH_SIZES = {64: 32, 128: 32, 256: 64}  # of auto on one GPU, and of paper256
OVERRIDES = (
    "prepare.max_images=300", "generator.z_dim=64", "generator.w_dim=64", "generator.channel_base=2048",
    "generator.conv_clamp=256.0", "discriminator.architecture=resnet", "discriminator.channel_base=2048",
    "discriminator.conv_clamp=256.0", "augment.mode=none", "train.batch_size=8", "train.batch_gpu=8",
    "train.g_lr=0.0025", "train.d_lr=0.0025", f"train.total_kimg={NIMG / 1000}", "train.precision=fp32",
    "cluster.num_workers=1",
)  # fmt: skip


def gradients(state: TrainState, real: Tensor, batch_size: int, dtype: torch.dtype) -> tuple[float, Tensor, Tensor]:
    """Mean R1 penalty, and gradients of both losses in G and D, computed in this precision by the state's weights"""
    params, exact = state.config, torch.float64 if dtype == torch.float64 else torch.float32
    image = {"img_resolution": params.prepare.resolution, "img_channels": 3, "c_dim": 0}
    G, D = Generator(params.generator, **image, dtype=dtype), Discriminator(params.discriminator, **image, dtype=dtype)
    G.load_state_dict(state.G.state_dict())
    D.load_state_dict(state.D.state_dict())
    if dtype == torch.float64:
        G, D = all_double(G), all_double(D)
    torch.manual_seed(0)
    z, c = torch.randn(len(real), params.generator.z_dim).to(exact), torch.zeros(len(real), 0)
    real = real.to(exact).requires_grad_()
    logits, gen_img = D(real, c), G.synthesis(G.mapping(z, c), "const")
    d_loss = discriminator_real_loss(logits) + discriminator_gen_loss(D(gen_img.detach(), c))
    penalty = float(r1_penalty(logits, real).detach().mean())
    g_loss = generator_loss(D(gen_img, c))
    return penalty, _gradient(g_loss.sum() / batch_size, G), _gradient(d_loss.sum() / batch_size, D)


def _gradient(loss: Tensor, net: nn.Module) -> Tensor:
    grads = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True, retain_graph=True)
    return torch.cat([grad.flatten() for grad in grads if grad is not None]).double()


def trained(params: Params, dataset: ImageDataset) -> TrainState:
    """The state after NIMG images"""
    state = TrainState.create(
        params, img_resolution=dataset.resolution, img_channels=3, c_dim=0, device=torch.device("cpu")
    )
    for _ in train(state, dataset):
        pass
    return state


def main(resolutions: Sequence[int]) -> None:
    """Print a row of Markdown for each resolution."""
    print(
        "| pixels, batch | R1 penalty | gradient of the loss in G, bf16 / fp16 | in D, bf16 / fp16 |\n|---|---|---|---|"
    )
    for resolution in resolutions:
        params, batch_size = load(overrides=[*OVERRIDES, f"prepare.resolution={resolution}"]), BATCH_SIZES[resolution]
        with tempfile.TemporaryDirectory() as name:
            archive = Path(name) / "archive.zip"
            prepare(params.prepare, archive, Path(name) / "manifest.json", EARTH, workers=1)
            dataset = ImageDataset(archive, use_labels=False, xflip=False, split="train", max_images=None)
            state, real = trained(params, dataset), to_float(dataset.batch(range(PROBE))[0])
        penalty, *exact = gradients(state, real, batch_size, torch.float64)
        halves = [gradients(state, real, batch_size, DTYPES[half])[1:] for half in HALVES]
        cells = [
            " / ".join(f"{float((found[net] - exact[net]).norm() / exact[net].norm()):.0e}" for found in halves)
            for net in (0, 1)
        ]
        print(f"| {resolution}, {batch_size} | {penalty:.0e} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or sorted(BATCH_SIZES))
