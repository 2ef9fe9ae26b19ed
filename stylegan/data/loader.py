"""Batches of training, prepared while the steps before them are computed, in an order that is a function of position.

Where pixels come from is decided once, by what there is room for; docs/data.md has the measurements behind it:

    1. the training device, when all images take at most DEVICE_SHARE of its free memory;
    2. this process's memory, when they take at most MEMORY_SHARE of what is available for each process of the machine;
    3. a file next to the archive that the machine's processes share, if they take at most DISK_SHARE of the free disk;
    4. the archive, every time.

Whatever has to be decoded is decoded by threads, some batches ahead. The bits are the same each way.
N batch, C channels, H W image.
"""

import math
import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylegan import images
from stylegan.data.dataset import ImageDataset, InfiniteSampler
from stylegan.data.decoded import InMemory, SharedFile, Source, available_memory, file_beside, free_bytes
from stylegan.distributed import num_ranks_here

Batch: TypeAlias = tuple[Tensor, Tensor]
Rows: TypeAlias = NDArray[np.int64]

# Activations take the most of a GPU, and are not there yet when this is asked.
DEVICE_SHARE = 0.2
# Trials of a sweep share a machine without knowing of each other, and a file of the page cache is as fast.
MEMORY_SHARE = 0.125
DISK_SHARE = 0.5
MAX_THREADS = 16  # a thread holds the interpreter for a tenth of the time that it decodes (docs/data.md)
MIN_BATCHES_AHEAD = 2  # one being read while another waits to be taken


class Place(Protocol):
    """Where the pixels of a dataset are while it is trained on."""

    def lacking(self, rows: Rows) -> Rows:
        """Images of a batch that the processor has to bring."""

    def read(self, rows: Rows, out: NDArray[np.uint8]) -> None:
        """Bring them, in any thread: into uint8 [N, C, H, W]."""

    def gather(self, rows: Tensor, brought: Rows, pixels: Tensor) -> Tensor:
        """The batch, uint8 [N, C, H, W] on the device, from what is there and what was brought."""


class Host:
    """Pixels that the processor brings in every step, out of memory, a file or the archive."""

    def __init__(self, source: Source, device: torch.device) -> None:
        self.source, self.device = source, device
        self.read = source.read

    def lacking(self, rows: Rows) -> Rows:
        return rows

    def gather(self, rows: Tensor, brought: Rows, pixels: Tensor) -> Tensor:
        return sent(pixels, self.device)


class OnDevice:
    """Pixels on the training device: each image is brought once, when it is first asked for."""

    def __init__(self, dataset: ImageDataset, device: torch.device) -> None:
        self.device = device
        self.read = dataset.read
        self.pixels = torch.empty(dataset.num_images, *dataset.img_shape, dtype=torch.uint8, device=device)
        self.is_asked_for = np.zeros(dataset.num_images, np.bool_)

    def lacking(self, rows: Rows) -> Rows:
        # Batches are gathered in the order in which they are asked about, so an earlier one has brought the rest.
        lacking = np.unique(rows[~self.is_asked_for[rows]])
        self.is_asked_for[lacking] = True
        return lacking

    def gather(self, rows: Tensor, brought: Rows, pixels: Tensor) -> Tensor:
        if len(brought):
            self.pixels.index_copy_(0, sent(torch.from_numpy(brought), self.device), sent(pixels, self.device))
        return self.pixels.index_select(0, rows)


@dataclass(frozen=True)
class Fetch:
    """A batch on its way."""

    indices: Rows
    brought: Rows
    pixels: Tensor  # uint8, in pinned memory where a GPU copies from it
    parts: list[Future[None]]


def batches(
    dataset: ImageDataset, seed: int, device: torch.device, positions: range, share: int
) -> Generator[Batch, None, None]:
    """The `share` images in [-1, 1] and their labels that follow each position of the endless order, on the device.

    Close it, so that its threads end. Raises as ImageDataset.read, when a batch that needs a damaged entry is due.
    """
    sampler, ranks_here = InfiniteSampler(len(dataset), seed), num_ranks_here()
    place = choose_place(dataset, device, ranks_here)
    order = (sampler.take(position, share) for position in positions)
    labels = dataset.labels_on(device)

    def assembled(fetch: Fetch) -> Batch:
        rows = sent(torch.from_numpy(fetch.indices % dataset.num_images), device)
        img = place.gather(rows, fetch.brought, fetch.pixels)
        mirrored = np.flatnonzero(fetch.indices >= dataset.num_images)
        if len(mirrored):
            which = sent(torch.from_numpy(mirrored), device)
            img.index_copy_(0, which, img.index_select(0, which).flip(3))
        return images.to_float(img), labels(rows)

    with closing(fetched(dataset, place, order, num_threads(ranks_here), pin=device.type == "cuda")) as fetches:
        yield from _beside_the_step(assembled, fetches, device) if device.type == "cuda" else map(assembled, fetches)


def choose_place(dataset: ImageDataset, device: torch.device, ranks_here: int) -> Place:
    """Where pixels are to be, by what there is room for now."""
    size = dataset.num_images * math.prod(dataset.img_shape)
    if device.type == "cuda" and size <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]:
        return OnDevice(dataset, device)
    if size <= MEMORY_SHARE * available_memory() / ranks_here:
        return Host(InMemory(dataset), device)
    try:
        path = file_beside(dataset)
        if size <= DISK_SHARE * free_bytes(path):
            return Host(SharedFile(dataset, path), device)
        problem = f"{size / 1e9:.0f} GB of pixels are more than {DISK_SHARE:.0%} of the free disk space"
    except OSError as error:
        problem = f"the file of pixels cannot be written next to it ({error.strerror})"
    warnings.warn(f"{dataset.path}: {problem}, so every image is decoded each time it is used.", stacklevel=2)
    return Host(dataset, device)


def num_threads(ranks_here: int) -> int:
    """Threads that bring images: this process's part of the machine's cores"""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MAX_THREADS, max(1, cores // ranks_here))


def fetched(
    dataset: ImageDataset, place: Place, order: Iterator[Rows], threads: int, *, pin: bool
) -> Generator[Fetch, None, None]:
    """Batches of indices in their order, each with what the place lacked of it, read by threads some batches ahead.

    On their way are as many images as keep the threads busy, two for each, and MIN_BATCHES_AHEAD batches at least.
    """
    pending: deque[Fetch] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="images") as pool:
        try:
            for indices in order:
                pending.append(_begun(pool, threads, dataset, place, indices, pin))
                if len(pending) > max(MIN_BATCHES_AHEAD, math.ceil(2 * threads / max(1, len(indices)))):
                    yield _done(pending.popleft())
            while pending:
                yield _done(pending.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _begun(
    pool: ThreadPoolExecutor, threads: int, dataset: ImageDataset, place: Place, indices: Rows, pin: bool
) -> Fetch:
    lacking = place.lacking(indices % dataset.num_images)
    pixels = torch.empty(len(lacking), *dataset.img_shape, dtype=torch.uint8, pin_memory=pin and len(lacking) > 0)
    out, num_parts = pixels.numpy(), min(threads, len(lacking))
    cuts = [len(lacking) * part // num_parts for part in range(num_parts + 1)] if num_parts else []
    parts = [pool.submit(place.read, lacking[start:stop], out[start:stop]) for start, stop in pairwise(cuts)]
    return Fetch(indices, lacking, pixels, parts)


def _done(fetch: Fetch) -> Fetch:
    for part in fetch.parts:
        part.result()
    return fetch


def _beside_the_step(
    assembled: Callable[[Fetch], Batch], fetches: Iterator[Fetch], device: torch.device
) -> Iterator[Batch]:
    """Copy and gather each batch on a stream of its own, while the GPU is still busy with the step before."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))  # which put the labels on the device
    for fetch in fetches:
        with torch.cuda.stream(stream):
            batch = assembled(fetch)
        current = torch.cuda.current_stream(device)
        current.wait_stream(stream)
        for tensor in batch:
            tensor.record_stream(current)  # its memory is not given away while the step may use it
        yield batch


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """On the device, without waiting for it: a GPU copies from pinned memory by itself"""
    if device.type != "cuda":
        return tensor.to(device)
    return (tensor if tensor.is_pinned() else tensor.pin_memory()).to(device, non_blocking=True)
