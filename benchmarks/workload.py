"""A training step to count or to time: random networks and images, p fixed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stylegan.backends import prepare_device
from stylegan.config import Config
from stylegan.config.pyramid import sides
from stylegan.config.sections import Kernels
from stylegan.state import TrainState
from stylegan.step import Trainer

P = 0.6  # augmentation probability; small sets end near it
CHANNELS = 3
Phases = dict[str, Callable[[], None]]


@dataclass(frozen=True)
class Workload:
    """A trainer and one batch of real images."""

    trainer: Trainer
    img: Tensor  # [N, C, H, W]
    c: Tensor  # [N, 0]

    @property
    def phases(self) -> Phases:
        """The four phases, in the order of a step; each draws the same random numbers whenever it runs"""
        return {
            "Gmain": self.trainer.update_g,
            "Greg": self.trainer.regularize_g,
            "Dmain": lambda: self.trainer.update_d(self.img, self.c),
            "Dreg": lambda: self.trainer.regularize_d(self.img, self.c),
        }

    def step(self) -> None:
        """A whole step of the lazy schedule"""
        self.trainer.step(self.img, self.c)


def workload(config: Config, device: torch.device) -> Workload:
    """Networks of these settings on the device"""
    resolution, batch = config.prepare.resolution, config.train.batch_size
    state = TrainState.create(config, img_resolution=resolution, img_channels=CHANNELS, c_dim=0, device=device)
    state.p = P
    trainer = Trainer(state, lambda n: torch.zeros(n, 0, device=device))
    img = torch.rand(batch, CHANNELS, *sides(resolution), generator=torch.Generator().manual_seed(0)) * 2 - 1
    return Workload(trainer, img.to(device), torch.zeros(batch, 0, device=device))


def prepare(device: torch.device, choice: Kernels) -> str | None:
    """Set torch's flags as training does, float32 in full, and select kernels; returns a line that says which"""
    return prepare_device(device, choice, allow_tf32=False)


def without_optimizers(work: Workload) -> Workload:
    """The same, taking no step: meta tensors have no fused Adam, and its work depends on parameters alone"""
    for optimizer in (work.trainer.state.opt_g, work.trainer.state.opt_d):
        optimizer.step = _nothing  # type: ignore[method-assign]
    return work


def _nothing(*_: Any, **__: Any) -> None:
    return None
