"""Decides which operations a Triton kernel computes: by mode, device, and agreement with stock torch on that device."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from stylegan.config.sections import Kernels

DTYPES = (torch.float32, torch.float16, torch.bfloat16)

_mode: Kernels = "auto"
# Tests add "cpu" and interpret the kernels there. meta counts what a GPU would do.
_trusted = {"meta"}


def handles(name: str, x: Tensor) -> bool:
    """Whether a kernel computes the named operation on x. Exported files hold stock operations on every device."""
    if _mode == "stock" or x.dtype not in DTYPES or torch.compiler.is_exporting():
        return False
    return x.device.type in _trusted or (x.is_cuda and _problem_on(x.device, name) is None)


def prepare(mode: Kernels, device: torch.device) -> str | None:
    """Choose for this process, try the kernels on the device, and say in one line which are used; None on a CPU"""
    global _mode
    _mode = mode
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    if mode == "stock":
        return f"{name}: stock torch operations (train.kernels is stock)"
    return f"{name}: {_describe(try_all(_indexed(device)))}"


@contextmanager
def using(mode: Kernels) -> Iterator[None]:
    """Another mode for a while"""
    global _mode
    before, _mode = _mode, mode
    try:
        yield
    finally:
        _mode = before


@functools.cache
def try_all(device: torch.device) -> dict[str, str | None]:
    """Each kernel against the stock operation on the device, once  ->  name: None, or what is wrong with it"""
    from stylegan.ops.kernels import trial  # it needs the operations, which ask this module

    return trial.try_all(device)


def _problem_on(device: torch.device, name: str) -> str | None:
    return try_all(_indexed(device))[name]


def _indexed(device: torch.device) -> torch.device:
    """cuda:0 for cuda, so that both are tried once"""
    return device if device.index is not None else torch.device("cuda", torch.cuda.current_device())


def _describe(problems: dict[str, str | None]) -> str:
    used = [name for name, problem in problems.items() if problem is None]
    failed = [f"{name} ({problem})" for name, problem in problems.items() if problem is not None]
    line = f"Triton kernels {', '.join(used)}" if used else "stock torch operations"
    return f"{line}; stock torch instead of {'; '.join(failed)}" if failed else line
