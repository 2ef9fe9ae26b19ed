"""`python -m pipelines.plan --hours`: time, cost and memory of a plan on 1 to 256 GPUs. The formulae are in scaling.py.

Seconds of a step come from one of three places, never from two: a measurement here, published figures, or the user.
"""

import argparse
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from pipelines.diagnosis.shared_rules import regularizer
from pipelines.params import Params
from pipelines.plan.cost import published, scaling
from pipelines.plan.cost.scaling import Compute, Link, Model, Network, Work
from stylegan.config import ConfigError
from stylegan.config.augmentation import adapts
from stylegan.config.pyramid import sides, spelt

MEASURED_PERIODS = 1  # after one that warms up
FLOAT = 4  # bytes; gradients are float32 in every precision


@dataclass(frozen=True)
class Row:
    """What a number of GPUs does."""

    gpus: int
    bytes_each: int
    sec_per_kimg: float
    hours: float  # for train.total_kimg


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the estimate needs to know"""
    group = parser.add_argument_group("time, cost and memory; without a source, times are extrapolated")
    group.add_argument(
        "--hours",
        type=positive,
        help="hours for which you have the GPUs; estimates 1 to 256 GPUs and writes nothing",
    )
    group.add_argument("--price", type=positive, help="price of one GPU for one hour")
    source = group.add_mutually_exclusive_group()
    source.add_argument("--measure", action="store_true", help="time a step of one process on this machine")
    source.add_argument("--reference", choices=published.REFERENCES, help="use the published figures of this GPU")
    source.add_argument("--sec-per-kimg", type=positive, metavar="SEC", help="sec/kimg of one GPU, if you know it")
    # NVLink 3 in 8 A100: 230 to 250 GB/s "bus bandwidth" in NVIDIA's nccl-tests, which is the ring formula's bandwidth.
    group.add_argument(
        "--gpu-gb-per-sec", type=positive, default=230.0, help="bandwidth between GPUs of a node (default: %(default)s)"
    )
    # 100 Gbit/s, the line rate of one card in each node.
    group.add_argument(
        "--node-gb-per-sec", type=positive, default=12.5, help="bandwidth between nodes (default: %(default)s)"
    )
    # Ring, protocol Simple, NVLINK and NET in the table hwLat of NCCL's src/graph/tuning.cc.
    group.add_argument(
        "--gpu-latency-us", type=positive, default=3.4, help="latency of a message within a node (default: %(default)s)"
    )
    group.add_argument(
        "--node-latency-us", type=positive, default=14.0, help="latency between nodes (default: %(default)s)"
    )
    group.add_argument("--gpus-per-node", type=int, default=8, help="number of GPUs per node (default: %(default)s)")


def positive(text: str) -> float:
    """Raises argparse.ArgumentTypeError for anything but a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def show(options: argparse.Namespace, params: Params, img_channels: int, console: Console) -> list[Row]:
    """Print table and sentences, and return the table's numbers.

    Raises ConfigError if nothing says how long a step takes.
    """
    network = network_of(options)
    compute, origin = compute_of(options, params, img_channels)
    # Deferred: a wrong option is reported before torch is imported.
    from pipelines.plan.cost.memory import memory

    need = memory(params, img_channels, params.train.batch_gpu)
    model = Model(work_of(params, FLOAT * need.g_params, FLOAT * need.d_params), compute, network)
    shares = {model.work.share(gpus) for gpus in gpu_counts(params)}
    memories = {share: memory(params, img_channels, share).total for share in shares}
    console.print(table(options, params, model, memories))
    for line in [origin, *sentences(options, params, model)]:
        console.print(line)
    console.print(
        f"Memory: {_gb(need.total)} GB on each of them = {_gb(need.state)} GB of parameters, gradients, moments and "
        f"G_ema + {_gb(need.activations)} GB of activations in {need.largest_phase} of {params.train.batch_gpu} "
        "image(s); libraries and fragmentation come on top."
    )
    return records(params, model, memories)


def names_source(options: argparse.Namespace) -> bool:
    """Whether the options say where the time of a step is from"""
    return bool(options.measure or options.reference or options.sec_per_kimg)


def spoken_source(options: argparse.Namespace) -> str:
    """That source in a few words"""
    if options.measure:
        return "measured on this machine"
    if options.sec_per_kimg is not None:
        return "given by --sec-per-kimg"
    card = options.reference.upper()
    if options.reference not in published.MEASURED:
        return f"published for {card}"
    own = next(iter(published.MEASURED[options.reference].values()))
    return f"measured on one {card}{own.version}"


def compute_of(options: argparse.Namespace, params: Params, img_channels: int) -> tuple[Compute, str]:
    """Arithmetic of one GPU, and a sentence on where it is from

    Raises ConfigError if no source is named, or published figures are of other networks.
    """
    if options.measure:
        return measured(params, img_channels)
    if options.sec_per_kimg is not None:
        return Compute(options.sec_per_kimg / 1000), (
            f"Step time: {options.sec_per_kimg:g} sec/kimg of one GPU as given, the same for any share of the batch."
        )
    if options.reference is None:
        raise ConfigError(
            "--hours needs the time of a step. Add --measure to time one on this machine, --reference v100 or a100 for "
            "the official implementation's figures, h100 for this project's, or --sec-per-kimg with one GPU's."
        )
    resolution = params.prepare.resolution
    if not isinstance(resolution, int):
        raise ConfigError(
            f"--reference {options.reference}: figures are of squares, not of {spelt(resolution)} pixels. Use "
            "--measure or --sec-per-kimg."
        )
    own = published.measured(options.reference, resolution) if options.reference in published.MEASURED else None
    compute = Compute(own.sec_per_kimg / 1000) if own else published.compute(options.reference, resolution)
    base = 32768 if resolution >= 512 else 16384
    if params.generator.channel_base != base:
        raise ConfigError(
            f"--reference {options.reference}: figures at {resolution} pixels are of channel_base {base}, and "
            f"generator.channel_base is {params.generator.channel_base}. Use --measure or --sec-per-kimg."
        )
    if own:
        return compute, (
            f"Step time: measured by this project on one {options.reference.upper()} in steps of {own.batch} images "
            f"({own.what}), taken to be the same for any share of the batch."
        )
    return compute, (
        f"Step time: published by the authors of the official implementation for {options.reference.upper()}, in "
        "mixed precision with the official CUDA kernels; this project's speed on that GPU is unknown."
    )


def measured(params: Params, img_channels: int) -> tuple[Compute, str]:
    """From steps of batch_gpu images and of the smallest share, in one process"""
    from pipelines.plan.cost.timing import device_here, seconds_per_step

    def sec(num_images: int) -> float:
        train = params.train.model_copy(update={"batch_size": num_images, "batch_gpu": num_images})
        config = params.model_copy(update={"train": train})
        return statistics.median(seconds_per_step(config, img_channels, MEASURED_PERIODS))

    few, many = smallest_share(params), largest_pass(params)
    times = {num_images: sec(num_images) for num_images in sorted({few, many})}
    steps = " and ".join(f"{1000 * value:.0f} ms for {num_images} images" for num_images, value in times.items())
    sentence = f"Step time: measured here on {device_here().type}, one process: {steps}."
    if few == many:
        return Compute(times[many] / many), sentence
    return Compute.through((few, times[few]), (many, times[many])), sentence


def smallest_share(params: Params) -> int:
    """Images that one GPU has to have: a whole group of the minibatch standard deviation, enough for path length"""
    shrink = params.loss.pl_batch_shrink if params.loss.pl_weight > 0 else 1
    return math.lcm(min(params.discriminator.mbstd_group_size, params.train.batch_gpu), shrink)


def largest_pass(params: Params) -> int:
    """Images of one forward pass where a GPU has more: what `auto` gives a GPU at this resolution, or the plan's own"""
    return max(params.train.batch_gpu, min(4096 // max(sides(params.prepare.resolution)), 32))


def gpu_counts(params: Params) -> list[int]:
    """Rows of the table"""
    return scaling.counts(params.train.batch_size, smallest_share(params), params.cluster.max_workers)


def work_of(params: Params, g_bytes: float, d_bytes: float) -> Work:
    """The step of these parameters; phases that are off have an infinite interval"""
    loss, augment = params.loss, params.augment
    return scaling.work(
        batch_size=params.train.batch_size,
        batch_gpu=largest_pass(params),
        g_bytes=g_bytes,
        d_bytes=d_bytes,
        w_bytes=FLOAT * params.generator.w_dim,
        g_reg_interval=loss.g_reg_interval if loss.pl_weight > 0 else math.inf,
        d_reg_interval=loss.d_reg_interval if regularizer(params)[1] > 0 else math.inf,
        ada_interval=augment.ada_interval if adapts(augment) else math.inf,
    )


def network_of(options: argparse.Namespace) -> Network:
    """Raises ConfigError for a node without GPUs."""
    if options.gpus_per_node < 1:
        raise ConfigError(f"--gpus-per-node is {options.gpus_per_node}; expected 1 or more.")
    return Network(
        options.gpus_per_node,
        Link(options.gpu_gb_per_sec * 1e9, options.gpu_latency_us * 1e-6),
        Link(options.node_gb_per_sec * 1e9, options.node_latency_us * 1e-6),
    )


def records(params: Params, model: Model, memories: dict[int, int]) -> list[Row]:
    """The rows of the table"""
    total, speeds = params.train.total_kimg, {gpus: model.sec_per_kimg(gpus) for gpus in gpu_counts(params)}
    return [
        Row(gpus, memories[model.work.share(gpus)], speed, scaling.hours_for(total, speed))
        for gpus, speed in speeds.items()
    ]


def table(options: argparse.Namespace, params: Params, model: Model, memories: dict[int, int]) -> Table:
    """A row for each number of GPUs that can share the batch; the one asked for is bold.

    memories: bytes on each GPU by images of a forward pass
    """
    headers = ["GPUs", "nodes", "images each", "GB each", "sec/kimg", "efficiency"]
    headers += [f"hours for {params.train.total_kimg:g} kimg", "cost", f"kimg in {options.hours:g} h"]
    result = Table(box=SIMPLE, pad_edge=False)
    for header in headers:
        result.add_column(header, justify="right")
    asked = params.cluster.max_workers
    for gpus in gpu_counts(params):
        speed = model.sec_per_kimg(gpus)
        hours, passes = scaling.hours_for(params.train.total_kimg, speed), model.work.passes(gpus)
        share = model.work.share(gpus)
        cells: list[Any] = [gpus, model.network.nodes(gpus), f"{passes} x {share}" if passes > 1 else share]
        cells += [_gb(memories[share]), f"{speed:.2f}", f"{model.efficiency(gpus):.0%}"]
        cells += [_hours(hours)]
        cells += [_money(options.price, hours * gpus), f"{scaling.kimg_in(options.hours, speed):.0f}"]
        result.add_row(*map(str, cells), style="bold" if gpus == asked else None)
    return result


def sentences(options: argparse.Namespace, params: Params, model: Model) -> Iterator[str]:
    """What the plan's own number of GPUs can do, where more stop helping, and what is assumed"""
    gpus, total = params.cluster.max_workers, params.train.total_kimg
    speed = model.sec_per_kimg(gpus)
    hours, kimg = scaling.hours_for(total, speed), scaling.kimg_in(options.hours, speed)
    cost = "" if options.price is None else f" and cost {_money(options.price, hours * gpus)}"
    verdict = "enough" if kimg >= total else f"enough for {kimg:.0f}"
    yield f"{total:g} kimg take {_hours(hours)} hours on {gpus} GPU(s){cost}; {options.hours:g} hours are {verdict}."
    share, batch = smallest_share(params), model.work.batch_size
    yield (
        f"More than {scaling.most_workers(batch, share)} GPUs cannot share a batch of {batch}: each needs {share} "
        "image(s) (discriminator.mbstd_group_size, loss.pl_batch_shrink). More need a larger "
        "train.batch_size, which is another training."
    )
    yield (
        f"All-reduces: rings that wait for their slowest link, {options.gpu_gb_per_sec:g} GB/s and "
        f"{options.gpu_latency_us:g} us a message in a node of {options.gpus_per_node} GPUs, "
        f"{options.node_gb_per_sec:g} GB/s and {options.node_latency_us:g} us between nodes, without overlap. Reading "
        "data, snapshots and Ray are not in it."
    )


def _money(price: float | None, gpu_hours: float) -> str:
    return "" if price is None else f"{price * gpu_hours:.2f}"


def _hours(hours: float) -> str:
    return f"{hours:.1f}" if hours >= 10 else f"{hours:.2f}"


def _gb(num_bytes: float) -> str:
    return f"{num_bytes / 2**30:.2f}"
