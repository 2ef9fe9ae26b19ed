"""Labels of images, looked up on the device that needs them. n images, N batch."""

from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor


class Labels:
    """Class numbers int32 [n] or vectors float32 [n, c_dim], kept on one device; None if images have no labels."""

    def __init__(self, table: NDArray[Any] | Tensor | None, num_classes: int, device: torch.device) -> None:
        self.table = None if table is None else torch.as_tensor(table, device=device)
        self.device, self.num_classes = device, num_classes
        self.c_dim = 0 if self.table is None else num_classes if self.table.ndim == 1 else self.table.shape[1]

    def to(self, device: torch.device) -> Self:
        """The same labels on another device"""
        return self if device == self.device else type(self)(self.table, self.num_classes, device)

    def __call__(self, rows: Tensor) -> Tensor:
        """int64 [N] on the device  ->  float32 [N, c_dim]: one-hot, or the vectors themselves

        Waits for no device: torch's one_hot may look for numbers out of range.
        """
        if self.table is None:
            return torch.zeros(len(rows), 0, device=self.device)
        values = self.table[rows]
        if values.ndim == 2:
            return values
        return (values[:, None] == torch.arange(self.c_dim, device=self.device)).float()
