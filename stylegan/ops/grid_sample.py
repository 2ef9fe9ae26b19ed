"""Bilinear sampling of images at given points, differentiable any number of times with respect to the images.

N batch, C channels, H W image, h w grid.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BILINEAR, ZEROS = 0, 0  # aten's numbers for the interpolation and for what lies beyond the border


def grid_sample(images: Tensor, grid: Tensor) -> Tensor:
    """As F.grid_sample with zeros beyond the border and unaligned corners  [N, C, H, W], [N, h, w, 2] -> [N, C, h, w]

    The grid is taken as a constant and gets no gradient. Raises ValueError if it wants one.
    """
    if grid.requires_grad:
        raise ValueError("grid_sample gives its grid no gradient; pass grid.detach() or use F.grid_sample")
    out: Tensor = _GridSample.apply(images, grid)  # type: ignore[no-untyped-call]
    return out


class _GridSample(torch.autograd.Function):
    """Linear in the images: its derivative is its adjoint, whose derivative it is again.

    torch 2.11 has no second derivative of its own grid_sample, which R1 through the augmentation needs. Saying that the
    operation is linear needs none, and keeps the grid only, where autograd would keep the images too.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, grid: Tensor) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.size = images.shape[2:]
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grid,) = ctx.saved_tensors
        grad_images: Tensor = _Adjoint.apply(grads[0], grid, ctx.size)  # type: ignore[no-untyped-call]
        return grad_images, None


class _Adjoint(torch.autograd.Function):
    """Add every point of [N, C, h, w] to the four pixels around it in [N, C, H, W]"""

    @staticmethod
    def forward(ctx: Any, points: Tensor, grid: Tensor, size: Sequence[int]) -> Tensor:
        ctx.save_for_backward(grid)
        # aten wants the images for the gradient of the grid, which is not asked for; one number stands for them.
        images = torch.zeros((), dtype=points.dtype, device=points.device).expand(*points.shape[:2], *size)
        made = torch.ops.aten.grid_sampler_2d_backward(
            points, images, grid, BILINEAR, ZEROS, align_corners=False, output_mask=[True, False]
        )
        out: Tensor = made[0]
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grid,) = ctx.saved_tensors
        return grid_sample(grads[0], grid), None, None
