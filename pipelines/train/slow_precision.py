"""A processor may lack arithmetic of 16 bits, and training in it then takes hours where float32 takes minutes."""

import time

import torch
import torch.nn.functional as F

from pipelines.params import Params
from stylegan.state import DTYPES

SLOW = 1.5  # times float32; with bf16 instructions it is about half
SHAPE, KERNEL = (8, 64, 16, 16), (64, 64, 3, 3)  # of a layer of the default networks; a few milliseconds
REPEATS = 3


def describe_slow_precision(params: Params) -> str | None:
    """One line if this machine's processor is to train in a precision that slows it down, with the remedy; else None"""
    ratio = measure_slowdown(params)
    if ratio is None:
        return None
    return (
        f"train.precision is {params.train.precision}, in which this processor takes {ratio:.1f} times as long as in "
        "fp32 for a convolution. Training continues. To make it faster, stop it and set train.precision to fp32, a "
        "new run."
    )


def measure_slowdown(params: Params) -> float | None:
    """How many times as long as in float32 this machine's processor takes in train.precision; None if it is not slow"""
    precision = params.train.precision
    if precision == "fp32" or params.cluster.use_gpu or params.cluster.address is not None:
        return None
    ratio = time_relative_to_float32(DTYPES[precision])
    return ratio if ratio >= SLOW else None


def time_relative_to_float32(dtype: torch.dtype) -> float:
    """Seconds of a convolution over those in float32, the best of a few each, measured in turns"""
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator) for shape in (SHAPE, KERNEL))
    best = dict.fromkeys((torch.float32, dtype), float("inf"))
    with torch.inference_mode():
        for _ in range(1 + REPEATS):  # the first, which warms up, is not the best
            for kind in best:
                images, kernel = x.to(kind).contiguous(memory_format=torch.channels_last), weight.to(kind)
                start = time.perf_counter()
                F.conv2d(images, kernel, padding=1)
                best[kind] = min(best[kind], time.perf_counter() - start)
    return best[dtype] / best[torch.float32]
