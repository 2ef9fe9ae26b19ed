"""TrainState: everything that training changes, and nothing else."""

import copy
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from stylegan.augment import adjust_p, validation_ratio
from stylegan.config import Config, ConfigError
from stylegan.config.augmentation import adapts, uses_p
from stylegan.config.pyramid import Resolution
from stylegan.config.sections import TrainConfig
from stylegan.distributed import all_reduce_sum_, broadcast_, rank
from stylegan.networks import Discriminator, Generator
from stylegan.networks.growing import level_at

SOURCES = ("train", "holdout", "gen")  # of the logits that r_v compares
LOGIT_UNIT = 2.0**-20  # logits are summed as whole numbers of it, so that no order of adding changes a bit

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def seed_at(seed: int, cur_nimg: int, phase: int, micro_batch: int) -> int:
    """Seed of a micro-batch of a phase of the step at cur_nimg.

    Randomness is a function of position, so resume needs no saved generator, and whichever rank has the micro-batch
    draws the same.
    """
    sequence = np.random.SeedSequence((seed, cur_nimg, phase, micro_batch))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def creation_seed(seed: int) -> int:
    """Seed of the first weights; a stream of its own, so that step 0 does not draw the numbers they were made of."""
    sequence = np.random.SeedSequence(seed, spawn_key=(0,))
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


@dataclass
class TrainState:
    """Networks, optimisers, augmentation probability, path length mean, and the position in the data.

    The optimisers hold the parameters that learn; the others are frozen.
    """

    config: Config
    G: Generator
    D: Discriminator
    G_ema: Generator
    opt_g: torch.optim.Adam
    opt_d: torch.optim.Adam
    p: float  # augmentation probability
    # What r_t or r_v is made of, on this rank since p was adjusted; in a file, on all ranks. Sum and count of
    # sign(D(real)) [2], or under ada_rv of the logits of each of SOURCES [3, 2].
    sums: Tensor
    pl_mean: Tensor  # [] running mean of path lengths
    cur_nimg: int  # real images seen by all ranks

    @classmethod
    def create(
        cls, config: Config, *, img_resolution: Resolution, img_channels: int, c_dim: int, device: torch.device
    ) -> Self:
        """Freshly initialised state, equal on every rank."""
        torch.manual_seed(creation_seed(config.train.seed))
        dtype = DTYPES[config.train.precision]
        level = level_at(0, config.train, img_resolution)
        G = Generator(
            config.generator, img_resolution=img_resolution, img_channels=img_channels, c_dim=c_dim, dtype=dtype,
            level=level,
        )  # fmt: skip
        D = Discriminator(
            config.discriminator, img_resolution=img_resolution, img_channels=img_channels, c_dim=c_dim, dtype=dtype,
            level=level,
        )  # fmt: skip
        G, D = G.to(device).requires_grad_(False), D.to(device).requires_grad_(False)
        broadcast_([*G.parameters(), *G.buffers(), *D.parameters(), *D.buffers()])
        return cls(
            config=config,
            G=G,
            D=D,
            G_ema=copy.deepcopy(G).eval(),
            opt_g=_adam(learning_g(G, config.train), config, config.train.g_lr, config.loss.g_reg_interval),
            opt_d=_adam(learning_d(D, config.train), config, config.train.d_lr, config.loss.d_reg_interval),
            p=config.augment.p if uses_p(config.augment) else 0.0,
            sums=_no_logits(device) if config.augment.mode == "ada_rv" else torch.zeros(2, device=device),
            pl_mean=torch.zeros([], device=device),
            cur_nimg=0,
        )

    @property
    def device(self) -> torch.device:
        return self.pl_mean.device

    @property
    def batch_idx(self) -> int:
        """Steps done"""
        return self.cur_nimg // self.config.train.batch_size

    def advance(self) -> None:
        """After the phases of a step: average the generator, count the images, grow, move p."""
        self._update_ema()
        self.move_to(self.cur_nimg + self.config.train.batch_size)
        augment = self.config.augment
        if adapts(augment) and self.batch_idx % augment.ada_interval == 0:
            nimg = augment.ada_interval * self.config.train.batch_size
            self.p = adjust_p(
                self.p, self._overfitting(), target=augment.ada_target, nimg=nimg,
                ada_kimg=augment.ada_kimg, p_max=augment.p_max,
            )  # fmt: skip

    def move_to(self, cur_nimg: int) -> None:
        """Set the position, and with it the level of growing networks."""
        self.cur_nimg = cur_nimg
        level = level_at(cur_nimg, self.config.train, self.G.img_resolution)
        for net in (self.G.synthesis, self.D, self.G_ema.synthesis):
            net.level = level

    def observe(self, source: str, logits: Tensor) -> None:
        """Add to what steers p  [N, 1]: signs of training images, or under ada_rv the logits of any of SOURCES."""
        if self.config.augment.mode == "ada_rv":
            whole = (logits.detach().double() / LOGIT_UNIT).round()
            self.sums[SOURCES.index(source)] += torch.stack([whole.sum(), torch.full_like(whole.sum(), whole.numel())])
        elif source == "train":
            signs = logits.detach().sign()
            self.sums += torch.stack([signs.sum(), torch.full_like(signs.sum(), signs.numel())])

    def _overfitting(self) -> float:
        """r_t or r_v since the last call, equal on every rank"""
        totals = all_reduce_sum_(self.sums.clone()).tolist()
        self.sums.zero_()
        if self.config.augment.mode == "ada_rv":
            return validation_ratio(*(total / max(count, 1) for total, count in totals))
        return float(totals[0] / max(totals[1], 1))

    def gather_sums(self) -> None:
        """Move the sums of all ranks to rank 0, which saves the state; the total, and so p, stays what it was."""
        total = all_reduce_sum_(self.sums.clone())
        self.sums.copy_(total if rank() == 0 else torch.zeros_like(total))

    @torch.no_grad()
    def _update_ema(self) -> None:
        """G_ema <- lerp(G, G_ema, beta) with a half-life of ema_kimg (Karras et al. 2020a, App. C)."""
        train = self.config.train
        half_life = train.ema_kimg * 1000
        if train.ema_rampup is not None:
            half_life = min(half_life, self.cur_nimg * train.ema_rampup)
        beta = 0.5 ** (train.batch_size / max(half_life, 1e-8))
        torch._foreach_lerp_(list(self.G_ema.parameters()), list(self.G.parameters()), 1 - beta)
        torch._foreach_copy_(list(self.G_ema.buffers()), list(self.G.buffers()))


def _no_logits(device: torch.device) -> Tensor:
    return torch.zeros(len(SOURCES), 2, dtype=torch.float64, device=device)


def learning_d(D: Discriminator, train: TrainConfig) -> list[nn.Parameter]:
    """Parameters of D but for its first freeze_d layers, from the highest resolution (Mo et al. 2020, Freeze-D).

    In each block fromrgb, conv0, conv1 and skip count, then conv, fc and out. Raises ConfigError if none is left.
    """
    frozen = _first_layers("train.freeze_d", train.freeze_d, D)
    return [param for name, param in D.named_parameters() if _layer(name) not in frozen]


def learning_g(G: Generator, train: TrainConfig) -> list[nn.Parameter]:
    """Parameters of G but for the first freeze_g layers of its synthesis, from the lowest resolution, and mapping.

    In each block const, conv0, conv1, torgb and skip count. Raises ConfigError if none is left.
    """
    frozen = _first_layers("train.freeze_g", train.freeze_g, G.synthesis)
    synthesis = [param for name, param in G.synthesis.named_parameters() if _layer(name) not in frozen]
    return [*synthesis, *([] if train.freeze_mapping else G.mapping.parameters())]


def _first_layers(parameter: str, count: int, net: nn.Module) -> set[str]:
    layers = list(dict.fromkeys(_layer(name) for name, _ in net.named_parameters()))
    layers = [layer for layer in layers if not layer.startswith("mapping.")]
    if count >= len(layers):
        raise ConfigError(
            f"{parameter} is {count}, but found {len(layers)} layers and one at least has to learn: "
            f"{', '.join(layers)}. Set it to at most {len(layers) - 1}."
        )
    return set(layers[:count])


def _layer(name: str) -> str:
    """ "b16.conv0.affine.weight" -> "b16.conv0" """
    return ".".join(name.split(".")[:2])


def _adam(params: list[nn.Parameter], config: Config, lr: float, reg_interval: int) -> torch.optim.Adam:
    # Lazy regularisation makes n + 1 optimiser steps where there were n; rescale so that Adam sees the same horizon
    # (Karras et al. 2020, App. B). An interval of 1 is not lazy and makes no step more.
    ratio = 1 if reg_interval == 1 else reg_interval / (reg_interval + 1)
    beta1, beta2 = config.train.adam_betas
    return torch.optim.Adam(
        params, lr=lr * ratio, betas=(beta1**ratio, beta2**ratio), eps=config.train.adam_eps, fused=True
    )
