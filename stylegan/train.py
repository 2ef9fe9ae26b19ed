"""The training loop, which yields a tick at a time.

No file, no print, no logger here: the caller reports, saves and stops.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stylegan.augment import validation_ratio
from stylegan.data import ImageDataset
from stylegan.data.loader import Batch, batches, sent
from stylegan.state import TrainState
from stylegan.step import DrawLabels, Trainer


@dataclass(frozen=True)
class Tick:
    """What the caller learns every tick_kimg."""

    index: int
    cur_nimg: int
    stats: dict[str, float]  # means since the last tick, equal on every rank
    is_snapshot: bool
    is_last: bool
    is_cut: bool = False  # training was asked to end before the tick did
    sums: Mapping[str, Sequence[float]] = field(default_factory=dict)  # of a tick that was cut, in place of stats


def train(
    state: TrainState,
    dataset: ImageDataset,
    asked_to_end: Callable[[], bool] = lambda: False,
    sums: Mapping[str, Sequence[float]] | None = None,
) -> Iterator[Tick]:
    """Train from state.cur_nimg to total_kimg, yielding after every tick_kimg and at the end.

    asked_to_end is called after every step; once it is true, on every rank, a tick that is cut is the last one. Its
    `sums` continue the statistics of that tick in a later call.
    Raises NonFiniteError before it yields a tick whose state is spoilt.
    """
    config = state.config.train
    total_nimg, tick_nimg = round(config.total_kimg * 1000), round(config.tick_kimg * 1000)
    trainer = Trainer(state, _label_source(dataset, state.device))
    trainer.stats.include(sums or {})
    with ExitStack() as threads:
        real = threads.enter_context(closing(_own_batches(dataset, trainer, total_nimg)))
        held_out = None
        if state.config.augment.mode == "ada_rv":
            held_out = threads.enter_context(closing(_own_batches(dataset.holdout(), trainer, total_nimg)))
        while state.cur_nimg < total_nimg:
            ticks_before = state.cur_nimg // tick_nimg
            trainer.step(*next(real), next(held_out) if held_out else None)
            is_last = state.cur_nimg >= total_nimg
            index = state.cur_nimg // tick_nimg
            if index > ticks_before or is_last:
                trainer.check_finite()
                stats = _with_r_v(trainer.stats.pop_means()) | {"augment/p": state.p}
                # Not index% snapshot_ticks: a step of more images than a tick passes several at once.
                is_snapshot = is_last or index // config.snapshot_ticks > ticks_before // config.snapshot_ticks
                if is_snapshot:
                    state.gather_sums()
                yield Tick(index, state.cur_nimg, stats, is_snapshot, is_last)
            if asked_to_end() and not is_last:
                trainer.check_finite()
                state.gather_sums()
                yield Tick(index, state.cur_nimg, {}, False, False, is_cut=True, sums=trainer.stats.pop_sums())
                return


def _with_r_v(stats: dict[str, float]) -> dict[str, float]:
    """What r_v was since the last tick, where held-out images were scored"""
    if "logits/holdout" not in stats:
        return stats
    return stats | {"augment/r_v": validation_ratio(*(stats[f"logits/{name}"] for name in ("real", "holdout", "gen")))}


def _own_batches(dataset: ImageDataset, trainer: Trainer, total_nimg: int) -> Generator[Batch, None, None]:
    """This rank's share of every batch from here to the end"""
    state, config = trainer.state, trainer.config.train
    first, share = trainer.own.start * config.batch_gpu, len(trainer.own) * config.batch_gpu
    positions = range(state.cur_nimg + first, total_nimg + first, config.batch_size)
    return batches(dataset, config.seed, state.device, positions, share)


def _label_source(dataset: ImageDataset, device: torch.device) -> DrawLabels:
    """Labels of images drawn by the processor's generator, looked up on the device"""
    labels = dataset.labels_on(device)

    def draw_c(n: int) -> Tensor:
        return labels(sent(torch.randint(len(dataset), (n,)) % dataset.num_images, device))

    return draw_c
