"""A training of as many seconds as there are left: samples, ticks and KID."""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.job import Job
from benchmarks.gpu.pictures import write_folder
from benchmarks.settings import TINY, config
from benchmarks.workload import prepare
from stylegan import images
from stylegan.config import Config
from stylegan.config.sections import PrepareConfig
from stylegan.data import ImageDataset
from stylegan.data.archive import check_all, convert_all, plan_archive, write_archive
from stylegan.data.sources import open_source
from stylegan.files import write_csv
from stylegan.metrics.extractors import EFFICIENTNET_FILE, load_extractor
from stylegan.monitor import Monitor
from stylegan.state import TrainState
from stylegan.train import train

ASSETS = Path(__file__).parents[2] / "assets"
SIZE, BATCH, IMAGES = 64, 64, 3000
MEASUREMENTS = 4  # of KID, at equal distances in time, besides the last
END_SEC = 12.0  # for the last KID and the samples
COLUMNS = 8  # of the grid of samples, next to as many real images
WORKERS = 8


def run(job: Job) -> None:
    """Train until END_SEC before the section ends."""
    tiny, out = job.options.tiny, Path(job.options.out)
    size, batch = (TINY, 4) if tiny else (SIZE, BATCH)
    if line := prepare(job.device, "auto"):
        job.say(line)
    with TemporaryDirectory() as folder:
        dataset = archive(job, Path(folder), size)
        settings = adapted(config(size, batch, "fp16", kernels="auto"), tiny)
        state = TrainState.create(settings, img_resolution=size, img_channels=3, c_dim=0, device=job.device)
        extractor = load_extractor(settings.monitor.extractor, settings.monitor.extractor_input_size, ASSETS)
        monitor = Monitor.create(settings, dataset, extractor.to(job.device))
        rows = ticks(job, state, dataset, monitor)
        write_csv(out / "training_ticks.csv", rows)
        images.save_png(samples(state, dataset), out / "training_samples.png")
    first, last = rows[0], rows[-1]
    job.record({"first": first, "last": last, "extractor": extractor.name, "images": len(dataset)}, "training")
    job.say(f"{extractor.name} KID {first['kid']:.3f} -> {last['kid']:.3f}, {last['kimg']:.1f} kimg, p {last['p']:.2f}")


def adapted(settings: Config, tiny: bool) -> Config:
    """Endless, with a tick at least every few seconds, and whichever extractor is there"""
    has_weights = (ASSETS / EFFICIENTNET_FILE).exists() and not tiny
    extractor = {"extractor": "efficientnet_lite0" if has_weights else "random", "extractor_input_size": 96}
    changes = {
        "train": {"total_kimg": 1e6, "tick_kimg": 0.016 if tiny else 1.0, "snapshot_ticks": 10**6},
        "monitor": extractor | {"num_images": 16 if tiny else 1000},
    }
    values = settings.model_dump(mode="json")
    return Config.model_validate({name: section | changes.get(name, {}) for name, section in values.items()})


def archive(job: Job, folder: Path, size: int) -> ImageDataset:
    """The user's images, or tiles, as an archive"""
    source = job.options.data
    if source is None:
        source = str(folder / "tiles")
        write_folder(Path(source), 32 if job.options.tiny else IMAGES, size)
    plain = config(size, 4, "fp32").prepare.model_dump()
    prepared = PrepareConfig.model_validate(
        plain | {"source": source, "transform": "center-crop", "holdout_fraction": 0.0, "labels": "none", "mode": "RGB"}
    )
    found = open_source(prepared, ASSETS / "earth" / "bmng.jpg")
    workers = 1 if job.options.tiny else WORKERS  # starting a process costs more than 32 small images
    plan = plan_archive(found, list(check_all(found, prepared, workers)), prepared)
    write_archive(folder / "archive.zip", plan, convert_all(found, plan, prepared, workers))
    return ImageDataset(folder / "archive.zip", use_labels=False, xflip=False, split="train", max_images=None)


def ticks(job: Job, state: TrainState, dataset: ImageDataset, monitor: Monitor) -> list[dict[str, Any]]:
    """Rows of the table, with KID in some of them"""
    available = max(job.left_sec - (2.0 if job.options.tiny else END_SEC), 0.0)
    if job.options.tiny:
        available = min(available, 3.0)
    started = time.monotonic()
    rows: list[dict[str, Any]] = [
        {"kimg": 0.0, "sec": 0.0, "sec_per_kimg": None, "p": state.p, "kid": kid(monitor, state)}
    ]
    trained = 0.0  # seconds, without measuring
    before = time.monotonic()
    for tick in train(state, dataset):
        sec = time.monotonic() - before
        trained += sec
        kimg = tick.cur_nimg / 1000
        row = {"kimg": kimg, "sec": trained, "sec_per_kimg": sec / (kimg - rows[-1]["kimg"]), "p": state.p, "kid": None}
        rows.append(row | {name.replace("/", "_"): value for name, value in tick.stats.items()})
        elapsed = time.monotonic() - started
        measured = sum(row["kid"] is not None for row in rows)
        if elapsed >= available or elapsed > available * measured / (MEASUREMENTS + 1):
            rows[-1]["kid"] = kid(monitor, state)
            job.say(
                f"{kimg:.1f} kimg: {rows[-1]['sec_per_kimg']:.2f} s/kimg, p {state.p:.2f}, KID {rows[-1]['kid']:.3f}"
            )
        if elapsed >= available:
            return rows
        before = time.monotonic()
    raise AssertionError("training does not end by itself")


def kid(monitor: Monitor, state: TrainState) -> float:
    return next(value for name, value in monitor.measure(state.G_ema).items() if "kid" in name.lower())


@torch.no_grad()
def samples(state: TrainState, dataset: ImageDataset) -> Tensor:
    """uint8 [3, H, W]: a square of generated images, and one of real ones on its right"""
    count = COLUMNS**2
    z = torch.randn(count, state.G_ema.z_dim, generator=torch.Generator().manual_seed(0)).to(state.device)
    generated = torch.cat([state.G_ema(part) for part in z.split(16)])
    real = dataset.batch([number % len(dataset) for number in range(count)])[0]
    return torch.cat([images.grid(images.to_uint8(generated), COLUMNS), images.grid(real, COLUMNS)], dim=2)
