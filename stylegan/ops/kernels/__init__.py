"""Placeholder of the CUDA kernels, replaced by them: no device has any."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

Mode = Literal["auto", "stock"]


def prepare(mode: Mode, device: torch.device) -> str | None:
    """One line that says which kernels the device uses; None for a device that has none"""
    return None


@contextmanager
def using(mode: Mode) -> Iterator[None]:
    """Choose the kernels within the block."""
    yield
