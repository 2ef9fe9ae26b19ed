"""How a training step's time changes with the number of GPUs: formulae only, of plain numbers.

Strong scaling: the batch stays, its share on each GPU shrinks. N images, W workers, one GPU each; seconds and bytes.
"""

import math
from dataclasses import dataclass, replace
from typing import Self

NUM_COUNTS = 9  # 1, 2, 4 .. 256


@dataclass(frozen=True)
class Link:
    """What one worker sends to the next: bytes a second in one direction, and seconds until the first arrives."""

    bytes_per_sec: float
    latency_sec: float


@dataclass(frozen=True)
class Network:
    """Nodes of gpus_per_node workers: the ring runs over `within` in one node, and waits for `between` in more."""

    gpus_per_node: int
    within: Link
    between: Link

    def link(self, workers: int) -> Link:
        """The slowest link of a ring over this many workers; all of them wait for it."""
        return self.within if workers <= self.gpus_per_node else self.between

    def nodes(self, workers: int) -> int:
        return math.ceil(workers / self.gpus_per_node)


@dataclass(frozen=True)
class Compute:
    """Seconds of the phases of a step for N images on one worker, without communication.

    max(floor_sec, fixed_sec + N sec_per_image): fixed_sec adds to the arithmetic, as on a processor; a GPU's arithmetic
    hides the launch of its kernels until there is too little of it, which leaves floor_sec.
    """

    sec_per_image: float
    fixed_sec: float = 0.0
    floor_sec: float = 0.0

    @classmethod
    def through(cls, few: tuple[float, float], many: tuple[float, float]) -> Self:
        """From two measured pairs (images, seconds), few before many.

        A smaller batch is never predicted to be faster per image: where it measured so, the larger one counts alone.
        """
        slope = (many[1] - few[1]) / (many[0] - few[0])
        fixed = many[1] - max(slope, 0) * many[0]
        return cls(max(slope, 0), fixed) if fixed > 0 else cls(many[1] / many[0])

    def sec(self, num_images: float) -> float:
        return max(self.floor_sec, self.fixed_sec + num_images * self.sec_per_image)

    def slowed(self, factor: float) -> Self:
        """As on cores that `factor` processes share"""
        return replace(
            self,
            sec_per_image=self.sec_per_image * factor,
            fixed_sec=self.fixed_sec * factor,
            floor_sec=self.floor_sec * factor,
        )


@dataclass(frozen=True)
class Reduction:
    """A tensor that all workers add up, `times` on average in a step"""

    num_bytes: float
    times: float


@dataclass(frozen=True)
class Work:
    """What a step consists of, whatever the number of workers."""

    batch_size: int
    batch_gpu: int  # most images of one forward pass on one worker
    reductions: tuple[Reduction, ...]

    def passes(self, workers: int) -> int:
        """Forward passes a step of each worker, which accumulate gradients"""
        return math.ceil(self.batch_size / (workers * self.batch_gpu))

    def share(self, workers: int) -> int:
        """Images of one forward pass on one worker"""
        return self.batch_size // (workers * self.passes(workers))


def work(
    *, batch_size: int, batch_gpu: int, g_bytes: float, d_bytes: float, w_bytes: float,
    g_reg_interval: float, d_reg_interval: float, ada_interval: float,
) -> Work:  # fmt: skip
    """The all-reduces of a step: once a phase gradients, with the means of w and path lengths, and the sums for p.

    An interval of infinity says that it never happens, one of 1 that it is part of the main phase.
    """
    g_reg, d_reg = 1 / g_reg_interval, 1 / d_reg_interval
    reductions = (
        Reduction(g_bytes + w_bytes, 1 + g_reg % 1),  # Gmain, Greg
        Reduction(d_bytes + w_bytes, 1),  # Dmain
        Reduction(d_bytes, d_reg % 1),  # Dreg
        Reduction(8, 1 / ada_interval),  # sum and count of signs
    )
    return Work(batch_size, batch_gpu, reductions)


def all_reduce_sec(num_bytes: float, workers: int, link: Link) -> float:
    """Ring all-reduce: 2 (W - 1) messages one after the other, each of bytes / W (Patarasuk and Yuan 2009, Sec. 3).

    2 (W - 1) / W x bytes / bandwidth + 2 (W - 1) x latency; 0 alone.
    """
    messages = 2 * (workers - 1)
    return messages / workers * num_bytes / link.bytes_per_sec + messages * link.latency_sec


@dataclass(frozen=True)
class Model:
    """Predicts the time of a step on any number of workers."""

    work: Work
    compute: Compute
    network: Network

    def communication_sec(self, workers: int) -> float:
        """All-reduces of an average step; none overlaps with arithmetic, as in stylegan/step.py."""
        link = self.network.link(workers)
        return sum(r.times * all_reduce_sec(r.num_bytes, workers, link) for r in self.work.reductions)

    def step_sec(self, workers: int) -> float:
        """passes x compute(batch / (W passes)) + communication"""
        passes = self.work.passes(workers)
        arithmetic = passes * self.compute.sec(self.work.batch_size / (workers * passes))
        return arithmetic + self.communication_sec(workers)

    def sec_per_kimg(self, workers: int) -> float:
        """Seconds for 1000 images over all workers"""
        return 1000 / self.work.batch_size * self.step_sec(workers)

    def efficiency(self, workers: int) -> float:
        """T(1) / (W T(W)): 1 is perfect scaling"""
        return self.step_sec(1) / (workers * self.step_sec(workers))


def hours_for(kimg: float, sec_per_kimg: float) -> float:
    return kimg * sec_per_kimg / 3600


def kimg_in(hours: float, sec_per_kimg: float) -> float:
    """Inverse of hours_for"""
    return hours * 3600 / sec_per_kimg


def most_workers(batch_size: int, smallest_share: int) -> int:
    """Largest number of workers whose shares are equal and of at least smallest_share images"""
    return max(count for count in range(1, batch_size + 1) if _shared(batch_size, count, smallest_share) or count == 1)


def counts(batch_size: int, smallest_share: int, asked: int) -> list[int]:
    """1, 2, 4 .. 256 and the number asked for, as far as they share the batch in whole groups"""
    wanted = sorted({asked, *(2**power for power in range(NUM_COUNTS))})
    return [count for count in wanted if _shared(batch_size, count, smallest_share)]


def _shared(batch_size: int, workers: int, smallest_share: int) -> bool:
    return batch_size % workers == 0 and (batch_size // workers) % smallest_share == 0
