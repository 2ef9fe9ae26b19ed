"""Many small tensors in one copy from the CPU to the device, which nothing waits for."""

from collections.abc import Mapping

import torch
from torch import Tensor


def copy_together(parts: Mapping[str, Tensor], like: Tensor) -> dict[str, Tensor]:
    """Parts of any shape, as views of one tensor with the device and dtype of `like`

    Whole numbers arrive exactly in float32 up to 2^24, more than a batch or an image side has.
    """
    if not parts:
        return {}
    flat = torch.cat([part.reshape(-1) for part in parts.values()])
    if like.is_cuda:  # from pageable memory the CPU would wait for the copy
        flat = flat.pin_memory()
    flat = flat.to(like, non_blocking=like.is_cuda)
    pieces = flat.split([part.numel() for part in parts.values()])
    return {name: piece.view(part.shape) for (name, part), piece in zip(parts.items(), pieces, strict=True)}
