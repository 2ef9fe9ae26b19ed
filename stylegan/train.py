"""The training loop, which yields a tick at a time.

No file, no print, no logger here: the caller reports, saves and stops.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stylegan import images
from stylegan.augment import validation_ratio
from stylegan.data import ImageDataset, InfiniteSampler
from stylegan.state import TrainState
from stylegan.step import Batch, DrawLabels, Trainer


@dataclass(frozen=True)
class Tick:
    """What the caller learns every tick_kimg."""

    index: int
    cur_nimg: int
    stats: dict[str, float]  # means since the last tick, equal on every rank
    is_snapshot: bool
    is_last: bool


def train(state: TrainState, dataset: ImageDataset) -> Iterator[Tick]:
    """Train from state.cur_nimg to total_kimg, yielding after every tick_kimg and at the end.

    Raises NonFiniteError before it yields a tick whose state is spoilt.
    """
    config = state.config.train
    take, take_held_out = _image_source(dataset, config.seed, state.device), None
    if state.config.augment.mode == "ada_rv":
        take_held_out = _image_source(dataset.holdout(), config.seed, state.device)
    trainer = Trainer(state, _label_source(dataset, state.device))
    first, share = trainer.own.start * config.batch_gpu, len(trainer.own) * config.batch_gpu
    total_nimg, tick_nimg = round(config.total_kimg * 1000), round(config.tick_kimg * 1000)
    while state.cur_nimg < total_nimg:
        ticks_before = state.cur_nimg // tick_nimg
        position = state.cur_nimg + first
        trainer.step(*take(position, share), take_held_out and take_held_out(position, share))
        is_last = state.cur_nimg >= total_nimg
        index = state.cur_nimg // tick_nimg
        if index > ticks_before or is_last:
            trainer.check_finite()
            stats = _with_r_v(trainer.stats.pop_means()) | {"augment/p": state.p}
            is_snapshot = is_last or index % config.snapshot_ticks == 0
            if is_snapshot:
                state.gather_sums()
            yield Tick(index, state.cur_nimg, stats, is_snapshot, is_last)


def _with_r_v(stats: dict[str, float]) -> dict[str, float]:
    """What r_v was since the last tick, where held-out images were scored"""
    if "logits/holdout" not in stats:
        return stats
    return stats | {"augment/r_v": validation_ratio(*(stats[f"logits/{name}"] for name in ("real", "holdout", "gen")))}


def _image_source(dataset: ImageDataset, seed: int, device: torch.device) -> Callable[[int, int], Batch]:
    """(position, count) -> the images that follow the position in the endless order of the seed, on the device"""
    sampler = InfiniteSampler(len(dataset), seed)

    def take(position: int, count: int) -> Batch:
        img, c = dataset.batch(sampler.take(position, count))
        return images.to_float(img.to(device)), c.to(device)

    return take


def _label_source(dataset: ImageDataset, device: torch.device) -> DrawLabels:
    def draw_c(n: int) -> Tensor:
        return dataset.labels(torch.randint(len(dataset), (n,)).tolist()).to(device)

    return draw_c
