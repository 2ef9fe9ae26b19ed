"""Measures how far fp32, bf16 and fp16 are from fp64 on the processor, and prints the tables of docs/precision.md.

    python -m benchmarks.precision              # every network, some minutes
    python -m benchmarks.precision 64 256       # those of 64 and 256 pixels

The same networks, latents, images and noise in every precision. Weights are random, with biases and noise away from the
zeros that they start at. Needs stylegan/ and torch only.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stylegan.config.sections import DiscriminatorConfig, GeneratorConfig
from stylegan.loss import (
    discriminator_gen_loss,
    discriminator_real_loss,
    generator_loss,
    path_length_penalty,
    r1_penalty,
)
from stylegan.networks import Discriminator, Generator
from stylegan.state import DTYPES


@dataclass(frozen=True)
class Case:
    """Networks of one size, and a batch."""

    name: str
    resolution: int
    width: int  # z_dim and w_dim
    channel_base: int
    channel_max: int
    D_architecture: str
    num_images: int
    batch_size: int  # by which losses are divided, so that gradients are as small as in training


CASES = (
    Case("16 pixels", 16, 16, 256, 16, "resnet", 8, 8),
    Case("32 pixels, as params.yaml", 32, 128, 512, 64, "orig", 16, 32),
    Case("64 pixels, as preset auto, an eighth of its width", 64, 64, 2048, 64, "resnet", 8, 32),
    Case("128 pixels, as preset auto, an eighth of its width", 128, 64, 2048, 64, "resnet", 4, 32),
    Case("256 pixels, as preset paper256, an eighth of its width", 256, 64, 2048, 64, "resnet", 4, 64),
)


HALVES = ("bf16", "fp16")
# A new D is flat, and its gradients are tiny: those of a batch of large images fall out of the range of fp16.
STEEPNESS = (1e-3, 1e-2, 1e-1, 1.0)  # loss/r1_penalty of a training
STEEP_FROM = 64  # pixels
UNSURE = 0.5  # slope of softplus at a logit of 0


@dataclass(frozen=True)
class Deviation:
    """Of one quantity in one precision from fp64."""

    quantity: str
    precision: str
    max: float  # largest difference / largest value
    l2: float  # norm of the difference / norm


def networks(case: Case, dtype: torch.dtype) -> tuple[Generator, Discriminator]:
    """G and D whose weights do not depend on the precision they compute in"""
    torch.manual_seed(0)
    shared = {"mapping_layers": 2, "mapping_lr_multiplier": 0.01, "conv_clamp": 256.0}
    shared |= {"channel_base": case.channel_base, "channel_max": case.channel_max}
    mapping = {"z_dim": case.width, "w_dim": case.width, "w_avg_beta": 0.995}
    epilogue = {"mbstd_group_size": 4, "mbstd_num_channels": 1}
    G_config = GeneratorConfig.model_validate(
        {"style_block": "demodulation", "architecture": "skip", "use_noise": True} | shared | mapping
    )
    D_config = DiscriminatorConfig.model_validate({"architecture": case.D_architecture} | shared | epilogue)
    image = {"img_resolution": case.resolution, "img_channels": 3, "c_dim": 0}
    G, D = Generator(G_config, **image, dtype=dtype), Discriminator(D_config, **image, dtype=dtype)
    for net in (G, D):
        for name, param in net.named_parameters():
            if name.endswith(("bias", "noise_strength")):
                param.data += 0.1 * torch.randn_like(param)
    return (G, D) if dtype != torch.float64 else (all_double(G), all_double(D))


def all_double(net: nn.Module) -> nn.Module:
    """The network with every number and every block in float64, the reference of the other precisions"""
    for module in net.modules():
        if hasattr(module, "dtype"):  # of a block
            module.dtype = torch.float64
    return net.double()


def inputs(case: Case, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images that ask for a gradient, latents, path length's noise, and no labels, for networks of this precision"""
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    torch.manual_seed(1)
    size = (case.num_images, 3, case.resolution, case.resolution)
    real_img = (torch.rand(size) * 2 - 1).to(exact).requires_grad_()
    z, noise = torch.randn(case.num_images, case.width).to(exact), torch.randn(size).to(exact) / case.resolution
    return real_img, z, noise, torch.zeros(case.num_images, 0)


def measure(case: Case, dtype: torch.dtype) -> dict[str, Tensor]:
    """Every quantity as training computes it"""
    G, D = networks(case, dtype)
    real_img, z, noise, c = inputs(case, dtype)
    ws = G.mapping(z, c)
    gen_img, logits = G.synthesis(ws, "const"), D(real_img, c)
    g_loss = generator_loss(D(gen_img, c)).sum() / case.batch_size
    d_loss = (discriminator_real_loss(logits) + discriminator_gen_loss(D(gen_img.detach(), c))).sum() / case.batch_size
    r1 = r1_penalty(logits, real_img)
    path_length, _ = path_length_penalty(gen_img, ws, torch.zeros([], dtype=z.dtype), 0.01, noise)
    return {
        "images of G": gen_img,
        "logits of D": logits,
        "gradient of the loss in G": _gradient(g_loss, G),
        "gradient of the loss in D": _gradient(d_loss, D),
        "R1 penalty": r1,
        "gradient of R1 in D": _gradient(r1, D),
        "path length penalty": path_length,
        "gradient of path length in G": _gradient(path_length, G),
    }


def _gradient(penalty: Tensor, net: nn.Module) -> Tensor:
    """Of the mean penalty by every parameter  -> [number of parameters]"""
    grads = torch.autograd.grad(penalty.mean(), list(net.parameters()), allow_unused=True, retain_graph=True)
    return torch.cat([grad.flatten() for grad in grads if grad is not None])


def steep_gradients(case: Case, dtype: torch.dtype, factors: Sequence[float]) -> list[Tensor]:
    """Gradient in G of logits multiplied by each factor, weighed as the loss weighs an image that D is unsure of"""
    G, D = networks(case, dtype)
    _, z, _, c = inputs(case, dtype)
    logits = D(G.synthesis(G.mapping(z, c), "const"), c)
    weights = (factor * UNSURE / case.batch_size for factor in factors)
    return [_gradient(logits.sum() * weight, G).detach().double() for weight in weights]


def steepness_table(case: Case) -> Iterator[str]:
    """Lines of Markdown: a row for each mean R1 penalty of D, first that of these weights, then of steeper ones"""
    _, D = networks(case, torch.float64)
    real_img, _, _, c = inputs(case, torch.float64)
    flat = float(r1_penalty(D(real_img, c), real_img).detach().mean())
    penalties = [flat, *(penalty for penalty in STEEPNESS if penalty > 2 * flat)]
    factors = [math.sqrt(penalty / flat) for penalty in penalties]
    exact = steep_gradients(case, torch.float64, factors)
    measured = [steep_gradients(case, DTYPES[precision], factors) for precision in HALVES]
    yield f"| R1 penalty of D, {case.resolution} pixels, batch {case.batch_size} | {' | '.join(HALVES)} |"
    yield "|---" * (1 + len(HALVES)) + "|"
    for row, (penalty, want) in enumerate(zip(penalties, exact, strict=True)):
        errors = [(found[row] - want).norm() / want.norm() for found in measured]
        yield f"| {penalty:.0e} | {' | '.join(f'{float(error):.0e}' for error in errors)} |"


def deviations(case: Case) -> Iterator[Deviation]:
    """Of every quantity and precision"""
    exact = {name: value.detach() for name, value in measure(case, torch.float64).items()}
    measured = {precision: measure(case, dtype) for precision, dtype in DTYPES.items()}
    for quantity, want in exact.items():
        for precision, values in measured.items():
            error = values[quantity].detach().double() - want
            largest, norm = error.abs().max() / want.abs().max(), error.norm() / want.norm()
            yield Deviation(quantity, precision, float(largest), float(norm))


def table(case: Case, found: list[Deviation]) -> Iterator[str]:
    """Lines of Markdown; in each cell largest, L2"""
    yield f"| {case.name} | {' | '.join(DTYPES)} |"
    yield "|---" * (1 + len(DTYPES)) + "|"
    for quantity in dict.fromkeys(deviation.quantity for deviation in found):
        cells = [f"{d.max:.0e}, {d.l2:.0e}" for d in found if d.quantity == quantity]
        yield f"| {quantity} | {' | '.join(cells)} |"


def main(resolutions: Sequence[int] = (), write: Callable[[str], None] = print) -> None:
    """Print a table for each case, or for each of these resolutions."""
    for case in CASES:
        if resolutions and case.resolution not in resolutions:
            continue
        for line in table(case, list(deviations(case))):
            write(line)
        write("")
        if case.resolution >= STEEP_FROM:
            for line in steepness_table(case):
                write(line)
            write("")


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
