"""The page docs/scaling.md: the figures of benchmarks/scaling.py next to those of pipelines/plan/cost/scaling.py."""

import os
import platform
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from pipelines.params import Params
from pipelines.plan.advice import parameter_counts
from pipelines.plan.cost import estimate, published
from pipelines.plan.cost.scaling import Compute, Link, Model, Network
from pipelines.plan.resolve import checked, resolve

FLOAT = 4  # bytes
COUNTS = tuple(2**power for power in range(9))
# The defaults of `.venv/bin/python -m pipelines.plan --hours`; its source says where they are from.
NETWORK = Network(8, Link(230e9, 3.4e-6), Link(12.5e9, 14e-6))
MODELLED = (("v100", 256), ("a100", 256), ("v100", 1024), ("a100", 1024))


@dataclass(frozen=True)
class Measured:
    """By number of workers, a value for each repetition"""

    plain: dict[int, list[float]]  # sec/kimg of the loop alone
    stage: dict[int, list[float]]  # sec/kimg of the whole stage
    start_sec: dict[int, list[float]]  # of the stage, until its first step
    small_sec: float  # an all-reduce of one number over two processes
    large_sec: float  # of G's gradients
    num_params: tuple[int, int]  # of G and D


def page(params: Params, measured: Measured) -> str:
    """All sections"""
    sections = [_head(), _here(params, measured), _ray(measured), _check(params), _far(params), _assumptions()]
    return "\n".join(line for section in sections for line in [*section, ""])


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Lines of Markdown"""
    yield f"| {' | '.join(header)} |"
    yield "|--:" * len(header) + "|"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def spread(values: Sequence[float]) -> str:
    """ "2.50 (2.41 to 2.63)": median and range"""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def model_here(params: Params, measured: Measured, cores: int, workers: int) -> Model:
    """The loop on this machine: one process's measured time, two processes' measured all-reduce, shared cores"""
    g_params, d_params = measured.num_params
    work = estimate.work_of(params, FLOAT * g_params, FLOAT * d_params)
    # Two processes exchange 2 messages, each of half the bytes.
    transfer = max(measured.large_sec - measured.small_sec, 1e-9)
    link = Link(FLOAT * g_params / transfer, measured.small_sec / 2)
    alone = statistics.median(measured.plain[1]) / 1000
    compute = Compute(alone).slowed(max(1.0, workers / cores))
    return Model(replace(work, batch_gpu=params.train.batch_gpu), compute, Network(workers, link, link))


def _head() -> Iterator[str]:
    yield "# Scaling"
    yield ""
    yield (
        "`.venv/bin/python -m benchmarks.scaling` wrote this page, in one run with nothing else on the machine. The "
        "model is in `pipelines/plan/cost/scaling.py`. To apply it to your plan, use `.venv/bin/stylegan plan --hours`."
    )


def _here(params: Params, measured: Measured) -> Iterator[str]:
    cores = os.cpu_count() or 1
    processor = _processor()
    yield "## Measured here: 1, 2, 3 processes with one global batch"
    software = ", ".join(f"{name} {version(name)}" for name in ("torch", "ray"))
    yield (
        f"{cores} cores{processor}, Python {platform.python_version()}, {software}, gloo, one thread per process; "
        f"{params.prepare.resolution} pixels, {params.train.batch_size} images per step in micro-batches of "
        f"{params.train.batch_gpu}, {params.train.precision}, p {params.augment.p:g}. Cells show the median and range "
        f"of {len(measured.plain[1])} repetition(s)."
    )
    yield ""
    alone, rows = statistics.median(measured.plain[1]), []
    for workers, values in measured.plain.items():
        predicted = model_here(params, measured, cores, workers).sec_per_kimg(workers)
        expected, found = (alone / (workers * speed) for speed in (predicted, statistics.median(values)))
        rows.append((workers, f"{predicted:.2f}", spread(values), f"{expected:.0%}", f"{found:.0%}"))
    header = ("processes", "sec/kimg, model", "sec/kimg, measured", "efficiency, model", "efficiency, measured")
    yield from table(header, rows)
    yield ""
    small, large = f"{1e6 * measured.small_sec:.0f} us", f"{1e3 * measured.large_sec:.2f} ms"
    yield (
        f"The model is given the time of one process, the time of an all-reduce over two ({small} for one number, "
        f"{large} for the {measured.num_params[0]:,} gradients of G), and the number of cores. From {cores + 1} "
        f"processes on, they share {cores} cores, which causes most of the loss there. The model ignores that "
        "processes share caches and memory, and that they wait for one that is not running."
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in path.read_text().splitlines() if line.startswith("model name")]
    return f" of {names[0]}" if names else ""


def _ray(measured: Measured) -> Iterator[str]:
    yield "## What Ray costs, and what a second process gains"
    yield (
        "The stage `train` runs the same loop in Ray's workers, with a report per tick, the tick log and MLflow. The "
        "plain loop has none of these. The two were measured alternately, between reports, so neither the start nor "
        "the last snapshot counts."
    )
    yield ""
    rows = []
    for workers, values in measured.stage.items():
        plain, stage = statistics.median(measured.plain[workers]), statistics.median(values)
        start = spread(measured.start_sec[workers])
        rows.append((workers, spread(measured.plain[workers]), spread(values), f"{stage / plain - 1:+.0%}", start))
    yield from table(("workers", "plain sec/kimg", "stage sec/kimg", "overhead", "start of the stage, s"), rows)
    yield ""
    gains = [statistics.median(kind[1]) / statistics.median(kind[2]) for kind in (measured.plain, measured.stage)]
    yield f"Two processes are {gains[0]:.2f} times as fast as one in the plain loop, {gains[1]:.2f} times in the stage."


def modelled(params: Params, device: str, resolution: int) -> Model:
    """The configuration `auto` at its widest batch, with the published time of one GPU"""
    planned = checked(resolve("auto", resolution, 1, params))
    g_params, d_params = parameter_counts(planned)
    work = estimate.work_of(planned, FLOAT * g_params, FLOAT * d_params)
    return Model(work, published.compute(device, resolution), NETWORK)


def with_batch(model: Model, batch_size: int) -> Model:
    return replace(model, work=replace(model.work, batch_size=batch_size))


def _check(params: Params) -> Iterator[str]:
    yield "## The model compared with published figures"
    yield (
        "The published figures are those of the official implementation, from its authors, and not measured by this "
        "project. V100: README of stylegan2-ada-pytorch, middle of the range. A100: docs/configs of stylegan3, "
        "StyleGAN2 configurations. The model is given the cells in bold: the time on one GPU, and the shortest step "
        "with the smallest published share of images per GPU. All numbers are in sec/kimg."
    )
    yield ""
    rows = []
    for device, table_of in published.SEC_PER_KIMG.items():
        for resolution in table_of:
            row: list[str] = [device.upper(), str(resolution)]
            for gpus in published.GPUS:
                row.append(_cell(modelled(params, device, resolution), device, resolution, gpus))
            rows.append(row)
    yield from table(("GPU", "pixels", *(f"{gpus}: model / published" for gpus in published.GPUS)), rows)


def _cell(model: Model, device: str, resolution: int, gpus: int) -> str:
    if gpus not in published.SEC_PER_KIMG[device][resolution]:
        return ""
    share, alone = (published.images_per_gpu(resolution, count) for count in (gpus, 1))
    predicted = with_batch(model, share * gpus).sec_per_kimg(gpus)
    cell = f"{predicted:.2f} / {published.sec_per_kimg(device, resolution, gpus):.2f}"
    is_given = gpus == 1 or (share < alone and gpus == max(published.SEC_PER_KIMG[device][resolution]))
    return f"**{cell}**" if is_given else cell


def _far(params: Params) -> Iterator[str]:
    yield "## The model up to 256 GPUs"
    yield (
        "Speed and efficiency of the preset `auto`, from the published time of one GPU. *Fixed*: 64 images per step, "
        "as long as each GPU has at least a group of 4. *Growing*: each GPU has as many images as a single one, so the "
        "batch grows with the number of GPUs. This is another training, and this page says nothing about its quality."
    )
    header = ("GPUs", "nodes", "fixed: sec/kimg", "efficiency", "growing: batch", "sec/kimg", "efficiency")
    for device, resolution in MODELLED:
        yield ""
        yield f"{device.upper()}, {resolution} pixels:"
        yield ""
        model, one = modelled(params, device, resolution), published.images_per_gpu(resolution, 1)
        yield from table(header, [_far_row(model, one, gpus) for gpus in COUNTS])


def _far_row(model: Model, one: int, gpus: int) -> tuple[object, ...]:
    fixed, batch_size = with_batch(model, 64), one * gpus
    cells = _cells(fixed, gpus) if 64 // gpus >= 4 else ("", "")
    speed, alone = with_batch(model, batch_size).sec_per_kimg(gpus), with_batch(model, one).sec_per_kimg(1)
    return gpus, NETWORK.nodes(gpus), *cells, batch_size, f"{speed:.2f}", f"{alone / (gpus * speed):.0%}"


def _cells(model: Model, gpus: int) -> tuple[str, str]:
    return f"{model.sec_per_kimg(gpus):.2f}", f"{model.efficiency(gpus):.0%}"


def _assumptions() -> Iterator[str]:
    yield "## Assumptions"
    lines = (
        "A step takes micro-batches x compute(images per micro-batch) + all-reduces, one after the other "
        "(`stylegan/step.py`).",
        "An all-reduce is a ring: 2 (W - 1) / W x bytes / bandwidth + 2 (W - 1) x latency (Patarasuk and Yuan 2009). "
        "For the few numbers of w_avg on many GPUs, NCCL has faster methods, so the model overestimates that part.",
        "Within a node of 8 GPUs: 230 GB/s, the lower end of what NVIDIA's nccl-tests are reported to show on 8 A100 "
        'with NVLink 3 ("bus bandwidth"), and 3.4 us per message. Between nodes: 12.5 GB/s, the line rate of one '
        "100 Gbit/s card per node, and 14 us per message. The latencies are those for a ring with protocol Simple in "
        "the table `hwLat` of NCCL's `src/graph/tuning.cc`. V100 and A100 are given the same network.",
        "compute(n) on a GPU is max(shortest, n x the time per image on one GPU), because launching kernels takes a "
        "shortest time however few images there are. From 512 pixels on, no published step is that short, so the "
        "model uses the shortest time at 256 pixels, which is too low there.",
        "All GPUs are equally fast, and data arrives in time. Snapshots, restarts and Ray are not included.",
        "This project measured only the tables for this machine. It measured no GPU for this page.",
    )
    yield from (f"- {line}" for line in lines)
