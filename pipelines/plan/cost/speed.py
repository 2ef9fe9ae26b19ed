"""How fast a plan trains, and who says so: a measurement here, published figures, the user, or an extrapolation.

An extrapolation goes by FLOPs from a time that was measured: for GPUs this project's on an H100, for a processor
convolutions on the one at hand. It may be wrong by a factor of two, more for networks of a few channels.
"""

import argparse
import os
from dataclasses import dataclass

from pipelines.params import Params
from pipelines.plan.cost import estimate, published
from pipelines.plan.cost.arithmetic import flops_per_image, forward_flops
from pipelines.plan.cost.scaling import Compute, Model

CARD, PIXELS = "h100", 256  # of the measurement that times on GPUs are extrapolated from
CARD_FLOPS = 403.4e9  # flops_per_image of the networks measured there, preset paper256
LAUNCH_SEC = 0.022  # of the kernels of a step, however little they compute: 0.35 sec/kimg at 64 images a step
CONVOLUTIONS = 0.5  # their share of a step's time on a processor
EXTRACTOR_FLOPS = 0.15e9  # of an image at 96 pixels in EfficientNet-Lite0


@dataclass(frozen=True)
class Speed:
    """Of a plan on all its workers"""

    sec_per_kimg: float
    source: str  # "measured on this machine"
    snapshot_sec: float  # that measuring a snapshot takes, on one worker


def speed_of(options: argparse.Namespace, params: Params, img_channels: int) -> Speed:
    """From the source that the options name, else extrapolated. Raises ConfigError as estimate.compute_of."""
    if estimate.names_source(options):
        compute, _ = estimate.compute_of(options, params, img_channels)
        source = estimate.spoken_source(options)
    elif params.cluster.use_gpu:
        compute, source = extrapolated_gpu(params)
    else:
        compute, source = extrapolated_processor(params)
    workers = params.cluster.max_workers
    work = estimate.work_of(params, *gradient_bytes(params, img_channels))
    model = Model(work, compute, estimate.network_of(options))
    sec_per_kimg = model.sec_per_kimg(workers if params.cluster.use_gpu else min(workers, cores_for(params)))
    rate = flops_per_image(params) * 1000 / sec_per_kimg / workers
    return Speed(sec_per_kimg, source, snapshot_flops(params) / rate)


def extrapolated_gpu(params: Params) -> tuple[Compute, str]:
    """From this project's own time on one card, by FLOPs"""
    own = published.measured(CARD, PIXELS)
    ratio = flops_per_image(params) / CARD_FLOPS
    compute = Compute(own.sec_per_kimg / 1000 * ratio, floor_sec=LAUNCH_SEC)
    return compute, f"extrapolated from one {CARD.upper()} at {PIXELS} pixels{own.version}"


def extrapolated_processor(params: Params) -> tuple[Compute, str]:
    """From convolutions on this processor, by FLOPs"""
    rate = convolution_rate(params.cluster.cpus_per_worker)
    compute = Compute(flops_per_image(params) / (rate * CONVOLUTIONS))
    return compute, f"extrapolated from convolutions on this machine, {rate / 1e9:.0f} GFLOP/s"


def cores_for(params: Params) -> int:
    """Workers that have cores of their own on this machine"""
    return max(1, (os.cpu_count() or 1) // params.cluster.cpus_per_worker)


def gradient_bytes(params: Params, img_channels: int) -> tuple[float, float]:
    """What an all-reduce of G and of D sends; nothing where one worker trains"""
    if params.cluster.max_workers == 1:
        return 0.0, 0.0
    from stylegan.networks.sizes import parameter_counts  # deferred: torch takes seconds

    counts = parameter_counts(params, resolution=params.prepare.resolution, channels=img_channels, c_dim=0)
    return estimate.FLOAT * counts[0], estimate.FLOAT * counts[1]


def snapshot_flops(params: Params) -> float:
    """Of the monitor's images, and of the features of as many real ones"""
    return params.monitor.num_images * (forward_flops(params)[0] + 2 * EXTRACTOR_FLOPS)


def convolution_rate(num_threads: int) -> float:
    """FLOP/s of a convolution of 64 channels in float32 on this processor, the best of a few"""
    import time

    import torch
    import torch.nn.functional as F

    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        x = torch.ones(8, 64, 32, 32).contiguous(memory_format=torch.channels_last)
        weight, best = torch.ones(64, 64, 3, 3), float("inf")
        with torch.inference_mode():
            for _ in range(6):
                start = time.perf_counter()
                F.conv2d(x, weight, padding=1)
                best = min(best, time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    return 2 * 9 * 64 * 64 * 8 * 32 * 32 / best
