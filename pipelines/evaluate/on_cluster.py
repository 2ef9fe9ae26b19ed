"""A measurement on the workers of the cluster: what each of them does, and what comes back."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train.torch
import torch

from pipelines.artifacts import manifest_json
from pipelines.artifacts.dataset import SPLIT
from pipelines.cluster.files import Shared, share
from pipelines.cluster.progress import counting
from pipelines.cluster.workers import on_workers
from pipelines.code_digest import code_digest
from pipelines.params import Params
from stylegan.backends import prepare_device
from stylegan.config.sections import EvaluateConfig, Kernels
from stylegan.data import ImageDataset
from stylegan.distributed import rank
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.evaluation.cache import StatisticsCache
from stylegan.metrics.evaluation.comparison import Measured, Statistics
from stylegan.metrics.evaluation.evaluator import Evaluator, Reference, Sweep
from stylegan.metrics.evaluation.ppl import PROTOCOLS
from stylegan.metrics.evaluation.sampling import draw_labels
from stylegan.metrics.extractors import load_extractor
from stylegan.metrics.extractors.lpips import load_lpips
from stylegan.wording import counted

# The code that decides what images score: after a change of it real images are measured again, and generators too.
MEASURING_CODE = (
    "pipelines/artifacts/dataset.py", "stylegan/backends.py", "stylegan/config/modes.py", "stylegan/config/pyramid.py",
    "stylegan/data", "stylegan/distributed.py", "stylegan/images.py", "stylegan/metrics",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """All that a worker needs."""

    evaluator: Evaluator
    sweeps: list[Sweep]
    archive: Shared
    dataset: ImageDataset  # of the archive, compared with
    known: Statistics | None  # of the dataset, where it need not be looked at again
    known_floor: Measured | None  # of the dataset, where it need not be measured again
    num_threads: int
    kernels: Kernels
    counter: Any  # the actor that counts images


@dataclass(frozen=True)
class Outcome:
    """What rank 0 brings back."""

    measured: list[Measured]
    statistics: Statistics | None  # of the dataset, where it was looked at
    problem: str | None


def measure_worker(job: Job) -> Outcome | None:
    """One worker's whole life: its share of real statistics that are not known, and of the sweeps."""
    torch.set_num_threads(job.num_threads)
    device = ray.train.torch.get_device()
    line = prepare_device(device, job.kernels, allow_tf32=False)
    if line is not None and rank() == 0:
        job.counter.say.remote(line)
    evaluator, seen = job.evaluator.to(device), _Seen(job.counter)
    job.dataset.path = job.archive.here()
    fresh = evaluator.statistics(job.dataset, seen.track) if job.known is None else None
    real = fresh or job.known
    assert real is not None, "looked at, where it was not known"
    reference = Reference(real, job.dataset.labels(range(len(job.dataset)))).to(device)
    sweeps = [Sweep(sweep.name, sweep.G.to(device), sweep.psis) for sweep in job.sweeps]
    job.counter.say.remote(describe_floor(job))
    try:
        measured = evaluator.measure(sweeps, reference, seen.track, job.known_floor)
    except MetricError as error:  # raised here, it would reach the user inside pages of Ray's stack
        return Outcome([], None, str(error))
    return Outcome(measured, None if fresh is None else fresh.to("cpu"), None) if rank() == 0 else None


def describe_floor(job: Job) -> str:
    """One line on the part of a measurement that shows no progress"""
    splits = counted(job.evaluator.config.floor_splits, "split")
    if job.known_floor is not None:
        return f"the real-image baseline is known; after the last image the generator is measured on its {splits}"
    return f"after the last image, real images and generator are measured on {splits}, which takes a while"


class _Seen:
    """Counts the images that this worker has seen."""

    def __init__(self, counter: Any) -> None:
        self.counter, self.count = counter, 0

    def track(self, batches: Iterable[range], images_per_row: int) -> Iterator[range]:
        """Pass batches on, and report each when it is done."""
        for rows in batches:
            yield rows
            self.count += len(rows) * images_per_row
            self.counter.report.remote(rank(), self.count)


def make_evaluator(config: EvaluateConfig, dataset: ImageDataset, weights: Path) -> Evaluator:
    """The networks that evaluate.metrics ask for, and labels as frequent as in the dataset

    Raises MetricError or FileNotFoundError for weights that are not there or unfit.
    """
    extractor = load_extractor(config.extractor, config.extractor_input_size, weights)
    lpips = load_lpips(config.ppl_network, weights) if PROTOCOLS.keys() & set(config.metrics) else None
    c = draw_labels(dataset, max(config.num_images, config.ppl_num_pairs), config.seed)
    return Evaluator(config, extractor, lpips, c, whole_set(dataset), torch.device("cpu"))


def whole_set(dataset: ImageDataset) -> int | None:
    """Number of images where the dataset is every image of its source, once; None if some are left out"""
    everything = ImageDataset(dataset.path, use_labels=False, xflip=False, split="all", max_images=None)
    prepared = manifest_json.overview_of(dataset.path, dataset.digest)
    whole = prepared is None or prepared.num_left_out == 0
    return len(dataset) if whole and len(dataset) == len(everything) and not dataset.xflip else None


def measure_on_cluster(
    evaluator: Evaluator, sweeps: list[Sweep], dataset: ImageDataset, state: Path, params: Params
) -> list[Measured]:
    """Evaluator.measure on the workers of params.cluster, with progress; real statistics stay in the folder `state`.

    Raises MetricError that names the measurement which failed.
    """
    cache = StatisticsCache(state, dataset.digest, evaluator.extractor, code_digest(MEASURING_CODE))
    known = cache.load(SPLIT, features=evaluator.keeps_features, thumbnails=evaluator.keeps_thumbnails)
    known_floor = cache.load_floor(SPLIT, evaluator.floor_key)
    total = sum(map(evaluator.images_of, sweeps)) + (len(dataset) if known is None else 0)
    archive, threads = share(dataset.path.resolve(), dataset.digest, params.cluster), params.cluster.cpus_per_worker
    with counting(total, "measuring") as counter:
        job = Job(evaluator, sweeps, archive, dataset, known, known_floor, threads, params.train.kernels, counter)
        outcome: Outcome = on_workers(measure_worker, job, params.cluster, "evaluate")
    if outcome.problem is not None:
        raise MetricError(outcome.problem)
    if outcome.statistics is not None:
        cache.save(SPLIT, outcome.statistics)
    if known_floor is None:
        cache.save_floor(SPLIT, evaluator.floor_key, outcome.measured[-1])
    return outcome.measured
