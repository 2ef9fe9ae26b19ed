"""Named sums and counts of training statistics, reduced over ranks once a tick."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from stylegan.distributed import all_reduce_sum_, rank


class Stats:
    """Means of named values since the last reset, accumulated on the device without waiting for it.

    Every rank must add the same names, so that one reduction serves them all.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor) -> None:
        """Include every element of values in the mean called name."""
        values = values.detach().to(torch.float64)
        total = torch.stack([values.sum(), torch.full_like(values.sum(), values.numel())])
        self._sums[name] = self._sums[name] + total if name in self._sums else total

    def pop_means(self) -> dict[str, float]:
        """Means over all ranks, and start again. Reads the device once."""
        return {name: total / count for name, (total, count) in self.pop_sums().items()}

    def pop_sums(self) -> dict[str, list[float]]:
        """Sum and count of each name over all ranks, and start again. Reads the device once."""
        if not self._sums:
            return {}
        names = sorted(self._sums)
        table = all_reduce_sum_(torch.stack([self._sums[name] for name in names])).cpu()
        self._sums.clear()
        return dict(zip(names, table.tolist(), strict=True))

    def include(self, sums: Mapping[str, Sequence[float]]) -> None:
        """Continue from what pop_sums returned; every rank has to, and rank 0 counts it."""
        for name, total in sums.items():
            mine = total if rank() == 0 else [0.0] * len(total)
            self._sums[name] = torch.tensor(mine, dtype=torch.float64, device=self.device)
