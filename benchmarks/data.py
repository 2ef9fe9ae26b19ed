"""Measures how fast images come to a step, by each way of stylegan/data/loader.py, and prints docs/data.md's table.

    python -m benchmarks.data [--quick] [--device cuda] [--resolutions 256 512 1024] [--seconds S]

Images are made here: smooth shapes with finer and finer noise over them, which PNG packs about as well as photographs.
Beside each way stands what an H100 would consume if it did nothing but its convolutions, and the cores that takes.
Needs stylegan/ only.
"""

import argparse
import io
import itertools
import math
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from stylegan.config.sections import DiscriminatorConfig, GeneratorConfig
from stylegan.data import ImageDataset, InfiniteSampler
from stylegan.data.arrays import Pixels
from stylegan.data.decoded import CHECK_BYTES, InMemory, SharedFile, Source, file_beside
from stylegan.data.loader import Host, OnDevice, Place, fetched, sent
from stylegan.networks import Discriminator, Generator

# Images a second at 256 pixels: the convolutions of a step alone take 1.10 ms an image on an H100 (docs/performance.md:
# those of Gmain and Dmain measured on one, the others computed; batch 64).
H100_AT_256 = 905
CHANNEL_BASE = {256: 16384, 512: 32768, 1024: 32768}  # of the papers' networks, as in pipelines/plan/presets/
DECODED_BYTES = 48 * 2**20  # of the images of each resolution; reading is the same for more, while the page cache holds
SHARE_BYTES = 6 * 2**20  # of a batch, about 32 images of 256 pixels


@dataclass(frozen=True)
class Row:
    """One way at one resolution."""

    resolution: int
    way: str
    per_sec: float  # images
    cpu_ms: float  # of all threads, an image
    wanted_per_sec: float  # by an H100


class Mapped:
    """The file of SharedFile through a mapping, for comparison."""

    def __init__(self, file: SharedFile) -> None:
        records = np.memmap(file.path, np.uint8, "r").reshape(-1, file.record_bytes)
        self.records, self.archive_rows = records, file.dataset.archive_rows

    def read(self, rows: NDArray[np.int64], out: Pixels) -> None:
        """Put images into uint8 [N, C, H, W]."""
        for row, pixels in zip(self.archive_rows[rows], out, strict=True):
            pixels.reshape(-1)[:] = self.records[row, CHECK_BYTES:]


def picture(resolution: int, seed: int) -> Image.Image:
    """Noise of each octave, whose strength falls with its frequency as in photographs"""
    rng, octaves = np.random.default_rng(seed), []
    for level in range(2, int(math.log2(resolution)) + 1):
        coarse = rng.standard_normal((2**level, 2**level, 3), np.float32) * 2.0 ** (-0.9 * level)
        channels = [
            Image.fromarray(coarse[:, :, c]).resize((resolution,) * 2, Image.Resampling.BICUBIC) for c in range(3)
        ]
        octaves.append(np.stack([np.asarray(channel) for channel in channels], axis=2))
    total = np.sum(octaves, axis=0)
    scaled = (total - total.min()) / (total.max() - total.min()) * 255
    return Image.fromarray(scaled.astype(np.uint8))


def write_archive(path: Path, resolution: int) -> None:
    """An archive as `prepare` writes it; every image is there several times, under other names."""
    count, files = max(8, DECODED_BYTES // (3 * resolution**2)), []
    for seed in range(min(count, 4)):
        buffer = io.BytesIO()
        picture(resolution, seed).save(buffer, "png", compress_level=0)
        files.append(buffer.getvalue())
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(f"00000/img{number:08d}.png", files[number % len(files)])


def flops(resolution: int) -> int:
    """Of a forward pass of the papers' G and D at this resolution, one image, counted on torch's `meta` device"""
    shared = {"channel_base": CHANNEL_BASE[resolution], "channel_max": 512, "conv_clamp": None, "mapping_layers": 8}
    shared["mapping_lr_multiplier"] = 0.01
    G_config = GeneratorConfig.model_validate(
        shared
        | {"style_block": "demodulation", "architecture": "skip", "use_noise": True}
        | {"z_dim": 512, "w_dim": 512, "w_avg_beta": 0.998}
    )
    D_config = DiscriminatorConfig.model_validate(
        shared | {"architecture": "resnet", "mbstd_group_size": 4, "mbstd_num_channels": 1}
    )
    with torch.device("meta"):
        G = Generator(G_config, img_resolution=resolution, img_channels=3, c_dim=0)
        D = Discriminator(D_config, img_resolution=resolution, img_channels=3, c_dim=0)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            D(G(torch.empty(4, 512), torch.empty(4, 0)), torch.empty(4, 0))
    return counter.get_total_flops() // 4


def wanted_per_sec(resolution: int) -> float:
    """Images a second of an H100: as at 256 pixels, by the arithmetic of an image"""
    return H100_AT_256 * flops(256) / flops(resolution)


def ways(dataset: ImageDataset, device: torch.device, cores: int) -> Iterator[tuple[str, Place | None, int]]:
    """Name, place and number of threads of each way; no place: decoded in the step"""
    if device.type == "cuda":
        yield "on the device", OnDevice(dataset, device), 1
    file = SharedFile(dataset, file_beside(dataset))
    sources: dict[str, Source] = {
        "in memory": InMemory(dataset),
        "shared file (pread)": file,
        "shared file through a mapping": Mapped(file),
    }
    for name, source in sources.items():
        yield name, Host(source, device), 1
    threads = [count for count in (1, 2, 4, 8, 16) if count <= cores]
    for count in threads:
        yield f"decoded ahead by {count} thread{'s' if count > 1 else ''}", Host(dataset, device), count
    yield "decoded in the step", None, 0


def measure(
    dataset: ImageDataset, device: torch.device, place: Place | None, threads: int, seconds: float
) -> tuple[float, float]:
    """Images a second, and milliseconds of all cores for each; after every image was asked for once"""
    count = dataset.num_images
    share = max(4, min(count, SHARE_BYTES // math.prod(dataset.img_shape)))
    order = (InfiniteSampler(count, 0).take(start, share) for start in itertools.count(0, share))
    if place is None:
        took = _timed((_decoded(dataset, rows, device) for rows in order), 1, seconds)
    else:
        with closing(fetched(dataset, place, order, threads, pin=device.type == "cuda")) as fetches:
            step = (
                place.gather(sent(torch.from_numpy(fetch.indices), device), fetch.brought, fetch.pixels)
                for fetch in fetches
            )
            took = _timed(step, -(-count // share) if threads == 1 else threads, seconds)
    num_steps, wall, cpu = took
    return num_steps * share / wall, cpu / (num_steps * share) * 1000


def _decoded(dataset: ImageDataset, rows: NDArray[np.int64], device: torch.device) -> torch.Tensor:
    return dataset.batch(rows)[0].to(device)


def _timed(steps: Iterator[torch.Tensor], warm_up: int, seconds: float) -> tuple[int, float, float]:
    """Steps, and the seconds that they took by the clock and of all cores"""
    for _ in range(warm_up):
        next(steps)
    wall, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        img = next(steps)
        count += 1
    if img.is_cuda:
        torch.cuda.synchronize(img.device)
    return count, time.perf_counter() - wall, time.process_time() - cpu


def rows_of(resolution: int, device: torch.device, seconds: float) -> Iterator[Row]:
    """Every way at a resolution"""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "archive.zip"
        write_archive(archive, resolution)
        dataset = ImageDataset(archive, use_labels=False, xflip=False, split="train", max_images=None)
        for name, place, threads in ways(dataset, device, cores):
            yield Row(resolution, name, *measure(dataset, device, place, threads, seconds), wanted_per_sec(resolution))


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Lines of Markdown"""
    yield "| pixels | way | images/s | CPU ms per image | an H100 consumes at most, images/s | cores that takes |"
    yield "|--:|---|--:|--:|--:|--:|"
    for row in rows:
        cores = row.wanted_per_sec * row.cpu_ms / 1000
        numbers = f"{row.per_sec:,.0f} | {row.cpu_ms:.3g} | {row.wanted_per_sec:.0f} | {cores:.2g}"
        yield f"| {row.resolution} | {row.way} | {numbers} |"


def main(arguments: Sequence[str] | None = None, write: Callable[[str], None] = print) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cpu", help="device that receives the batches: cpu or cuda (default: cpu)")
    parser.add_argument("--resolutions", type=int, nargs="+", choices=CHANNEL_BASE, default=list(CHANNEL_BASE))
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds per way of loading (default: 3)")
    parser.add_argument("--quick", action="store_true", help="256 pixels only, a twentieth of a second for each way")
    options = parser.parse_args(arguments)
    resolutions, seconds = ([256], 0.05) if options.quick else (options.resolutions, options.seconds)
    device = torch.device(options.device)
    write(f"{len(os.sched_getaffinity(0))} cores, torch {torch.__version__}, batches to {device}")
    for line in table([row for resolution in resolutions for row in rows_of(resolution, device, seconds)]):
        write(line)


if __name__ == "__main__":
    main()
