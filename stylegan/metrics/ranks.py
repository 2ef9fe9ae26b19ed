"""Which images each rank sees, and how what it makes of them comes together in the order of images.

Batches go round the ranks, so they hold the same images whatever the number of ranks, and so do features.
"""

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from stylegan.distributed import gather, rank, world_size
from stylegan.metrics.sampling import batches


def own_batches(count: int, batch_size: int) -> Iterator[range]:
    """This rank's share of 0 .. count-1 in batches"""
    return itertools.islice(batches(count, batch_size), rank(), None, world_size())


def gather_rows(pieces: Sequence[Tensor], dst: int) -> Tensor | None:
    """One piece [n, ...] for each of own_batches  ->  all pieces in the order of images on rank dst, None elsewhere"""
    shares = gather([piece.cpu() for piece in pieces], dst)
    rounds = itertools.zip_longest(*shares)
    found = [piece for pieces_of_ranks in rounds for piece in pieces_of_ranks if piece is not None]
    return torch.cat(found) if rank() == dst else None
