"""What the official implementation of 2020 needs to train under a torch of today. Python imports this file by its name
in every process whose PYTHONPATH has this folder, and the peer's processes alone have it.

Three things: its compiled extensions are found in the folder that torch builds them in, Adam's betas become floats, and
F.grid_sample can be differentiated twice.
"""

import functools
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BILINEAR, ZEROS = 0, 0  # of aten.grid_sampler_2d


class BuiltExtensions:
    """Finds NAME.so below TORCH_EXTENSIONS_DIR when nothing else is called NAME."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        folder = os.environ.get("TORCH_EXTENSIONS_DIR")
        found = sorted(Path(folder).rglob(f"{name}.so")) if folder and path is None else []
        return importlib.util.spec_from_file_location(name, found[0]) if found else None


class GridSample(torch.autograd.Function):
    """Sampling is linear in the image, so the second derivative is sampling again; the grid gets no gradient."""

    @staticmethod
    def forward(ctx: Any, img: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(img, grid)
        return torch.ops.aten.grid_sampler_2d(img, grid, BILINEAR, ZEROS, False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return GridSampleBackward.apply(grads[0], *ctx.saved_tensors), None


class GridSampleBackward(torch.autograd.Function):
    """Gradient of GridSample along the image."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, img: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        mask = [True, False]
        return torch.ops.aten.grid_sampler_2d_backward(grad, img, grid, BILINEAR, ZEROS, False, mask)[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return GridSample.apply(grads[0], *ctx.saved_tensors), None, None


stock_grid_sample, stock_adam = F.grid_sample, torch.optim.Adam.__init__


def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """As F.grid_sample, differentiable twice where it is bilinear with zeros outside"""
    if (mode, padding_mode, bool(align_corners)) == ("bilinear", "zeros", False) and not grid.requires_grad:
        return GridSample.apply(input, grid)
    return stock_grid_sample(input, grid, mode, padding_mode, align_corners)


@functools.wraps(stock_adam)
def adam(self: Any, *args: Any, **kwargs: Any) -> None:
    if "betas" in kwargs:
        kwargs["betas"] = tuple(map(float, kwargs["betas"]))
    stock_adam(self, *args, **kwargs)


F.grid_sample = grid_sample
torch.optim.Adam.__init__ = adam
sys.meta_path.append(BuiltExtensions)
