"""Times the training step on this machine, on random images and without data loading."""

import math
import time

import torch

from stylegan.backends import prepare_device
from stylegan.config import Config
from stylegan.config.pyramid import sides
from stylegan.state import TrainState
from stylegan.step import Trainer


def device_here() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seconds_per_step(config: Config, img_channels: int, periods: int) -> list[float]:
    """Mean seconds of a step, for each period of the lazy regularisers, after one period that warms up."""
    resolution, device = config.prepare.resolution, device_here()
    prepare_device(device, config.train.kernels, allow_tf32=config.train.allow_tf32)
    state = TrainState.create(config, img_resolution=resolution, img_channels=img_channels, c_dim=0, device=device)
    trainer = Trainer(state, lambda n: torch.zeros(n, 0, device=device))
    img = torch.rand(config.train.batch_size, img_channels, *sides(resolution), device=device) * 2 - 1
    c = torch.zeros(len(img), 0, device=device)
    held_out = (img, c) if config.augment.mode == "ada_rv" else None  # as many, whatever they show
    steps = math.lcm(config.loss.g_reg_interval, config.loss.d_reg_interval)
    result = []
    for _ in range(1 + periods):
        start = time.perf_counter()
        for _ in range(steps):
            trainer.step(img, c, held_out)
        if device.type == "cuda":
            torch.cuda.synchronize()
        result.append((time.perf_counter() - start) / steps)
    return result[1:]
