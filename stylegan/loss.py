"""The losses as pure functions of tensors; state goes in and comes out, nothing is mutated.

N batch, C channels, H W image, L = num_ws.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stylegan.config.sections import LossConfig


def generator_loss(gen_logits: Tensor) -> Tensor:
    """-log sigmoid(D(G(z))), non-saturating (Goodfellow et al. 2014)  [N, 1] -> [N]"""
    return F.softplus(-gen_logits).squeeze(1)


def discriminator_real_loss(real_logits: Tensor) -> Tensor:
    """-log sigmoid(D(x))  [N, 1] -> [N]"""
    return F.softplus(-real_logits).squeeze(1)


def discriminator_gen_loss(gen_logits: Tensor) -> Tensor:
    """-log(1 - sigmoid(D(G(z))))  [N, 1] -> [N]"""
    return F.softplus(gen_logits).squeeze(1)


def wasserstein_generator_loss(gen_logits: Tensor) -> Tensor:
    """-D(G(z)) (Gulrajani et al. 2017, Alg. 1)  [N, 1] -> [N]"""
    return -gen_logits.squeeze(1)


def wasserstein_real_loss(real_logits: Tensor, drift_weight: float) -> Tensor:
    """-D(x) + drift_weight D(x)^2, which keeps D near zero (Karras et al. 2018, App. A.1)  [N, 1] -> [N]"""
    logits = real_logits.squeeze(1)
    return drift_weight * logits.square() - logits


def wasserstein_gen_loss(gen_logits: Tensor) -> Tensor:
    """D(G(z)) (Gulrajani et al. 2017, Alg. 1)  [N, 1] -> [N]"""
    return gen_logits.squeeze(1)


class Adversarial(NamedTuple):
    """What G minimises, and the two terms of what D minimises, each [N, 1] -> [N]"""

    generator: Callable[[Tensor], Tensor]
    real: Callable[[Tensor], Tensor]
    gen: Callable[[Tensor], Tensor]


def adversarial(name: str, drift_weight: float) -> Adversarial:
    """The losses that loss.adversarial names"""
    if name == "wgan_gp":
        real = partial(wasserstein_real_loss, drift_weight=drift_weight)
        return Adversarial(wasserstein_generator_loss, real, wasserstein_gen_loss)
    return Adversarial(generator_loss, discriminator_real_loss, discriminator_gen_loss)


def d_reg_weight(config: LossConfig) -> float:
    """Factor of D's regulariser, gamma / 2 of R1 (Mescheder et al. 2018, Eq. 9); 0 where there is none"""
    return config.gp_weight if config.d_regularizer == "gp" else config.r1_gamma / 2


def r1_penalty(real_logits: Tensor, real_img: Tensor) -> Tensor:
    """Squared gradient norm of D at real images (Mescheder et al. 2018, Eq. 9)

    real_logits [N, 1] computed from real_img [N, C, H, W] -> [N]
    """
    (grad,) = torch.autograd.grad(real_logits.sum(), real_img, create_graph=True)
    return grad.square().sum(dim=(1, 2, 3))


def between(real_img: Tensor, gen_img: Tensor) -> Tensor:
    """x + u (G(z) - x) with u from U(0, 1), one for each image (Gulrajani et al. 2017, Alg. 1)  [N, C, H, W]"""
    u = torch.rand(len(real_img), 1, 1, 1, device=real_img.device)
    return real_img.lerp(gen_img, u)


def gradient_penalty(logits: Tensor, img: Tensor) -> Tensor:
    """(|gradient of D| - 1)^2 (Gulrajani et al. 2017, Eq. 3)

    logits [N, 1] computed from img [N, C, H, W] between real and generated ones -> [N]
    """
    (grad,) = torch.autograd.grad(logits.sum(), img, create_graph=True)
    lengths: Tensor = torch.linalg.vector_norm(grad, dim=(1, 2, 3))
    return (lengths - 1).square()


def path_length_penalty(
    gen_img: Tensor, ws: Tensor, pl_mean: Tensor, pl_decay: float, noise: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(|J^T y| - a)^2 with a the running mean of |J^T y| (Karras et al. 2020, Eq. 4)

    gen_img [N, C, H, W] computed from ws [N, L, w_dim], pl_mean [] -> penalty [N], new pl_mean []
    noise is y, drawn from N(0, 1) / sqrt(H W) unless given. The returned mean is detached; inside the
    penalty the gradient flows through its newest term, as in the published training.
    """
    h, w = gen_img.shape[2:]
    # Not randn_like: which pixel gets which number would depend on the layout of gen_img in memory.
    y = torch.randn(gen_img.shape, device=gen_img.device) / math.sqrt(h * w) if noise is None else noise
    (grad,) = torch.autograd.grad((gen_img * y).sum(), ws, create_graph=True)
    pl_lengths = grad.square().sum(dim=2).mean(dim=1).sqrt()
    new_mean = pl_mean.lerp(pl_lengths.mean(), pl_decay)
    return (pl_lengths - new_mean).square(), new_mean.detach()
