"""The graph of 2015-12-05 as a table, written from its publications, not from the code; and random weights."""

import math

import torch
from torch import Tensor

# The graph as published: Szegedy et al. 2016, Table 1 and Fig. 5, 10, 6, 7; strides, widths and padding as in TF-slim's
# inception_v3, whose layers of stride 2 are VALID. (layer, in, out, kernel, stride, padding, side of the output)
STEM = (
    ("Conv2d_1a_3x3", 3, 32, (3, 3), 2, (0, 0), 149),
    ("Conv2d_2a_3x3", 32, 32, (3, 3), 1, (0, 0), 147),
    ("Conv2d_2b_3x3", 32, 64, (3, 3), 1, (1, 1), 147),  # then maximum of 3, stride 2: 73
    ("Conv2d_3b_1x1", 64, 80, (1, 1), 1, (0, 0), 73),
    ("Conv2d_4a_3x3", 80, 192, (3, 3), 1, (0, 0), 71),  # then maximum of 3, stride 2: 35
)


def block_a(block: str, channels: int, pooled: int) -> list[tuple]:
    return [
        (f"{block}.branch1x1", channels, 64, (1, 1), 1, (0, 0), 35),
        (f"{block}.branch5x5_1", channels, 48, (1, 1), 1, (0, 0), 35),
        (f"{block}.branch5x5_2", 48, 64, (5, 5), 1, (2, 2), 35),
        (f"{block}.branch3x3dbl_1", channels, 64, (1, 1), 1, (0, 0), 35),
        (f"{block}.branch3x3dbl_2", 64, 96, (3, 3), 1, (1, 1), 35),
        (f"{block}.branch3x3dbl_3", 96, 96, (3, 3), 1, (1, 1), 35),
        (f"{block}.branch_pool", channels, pooled, (1, 1), 1, (0, 0), 35),
    ]


def block_c(block: str, hidden: int) -> list[tuple]:
    across, down = ((1, 7), 1, (0, 3), 17), ((7, 1), 1, (3, 0), 17)
    return [
        (f"{block}.branch1x1", 768, 192, (1, 1), 1, (0, 0), 17),
        (f"{block}.branch7x7_1", 768, hidden, (1, 1), 1, (0, 0), 17),
        (f"{block}.branch7x7_2", hidden, hidden, *across),
        (f"{block}.branch7x7_3", hidden, 192, *down),
        (f"{block}.branch7x7dbl_1", 768, hidden, (1, 1), 1, (0, 0), 17),
        (f"{block}.branch7x7dbl_2", hidden, hidden, *down),
        (f"{block}.branch7x7dbl_3", hidden, hidden, *across),
        (f"{block}.branch7x7dbl_4", hidden, hidden, *down),
        (f"{block}.branch7x7dbl_5", hidden, 192, *across),
        (f"{block}.branch_pool", 768, 192, (1, 1), 1, (0, 0), 17),
    ]


def block_e(block: str, channels: int) -> list[tuple]:
    across, down = ((1, 3), 1, (0, 1), 8), ((3, 1), 1, (1, 0), 8)
    return [
        (f"{block}.branch1x1", channels, 320, (1, 1), 1, (0, 0), 8),
        (f"{block}.branch3x3_1", channels, 384, (1, 1), 1, (0, 0), 8),
        (f"{block}.branch3x3_2a", 384, 384, *across),
        (f"{block}.branch3x3_2b", 384, 384, *down),
        (f"{block}.branch3x3dbl_1", channels, 448, (1, 1), 1, (0, 0), 8),
        (f"{block}.branch3x3dbl_2", 448, 384, (3, 3), 1, (1, 1), 8),
        (f"{block}.branch3x3dbl_3a", 384, 384, *across),
        (f"{block}.branch3x3dbl_3b", 384, 384, *down),
        (f"{block}.branch_pool", channels, 192, (1, 1), 1, (0, 0), 8),
    ]


TABLE = (
    *STEM,
    *block_a("Mixed_5b", 192, 32),
    *block_a("Mixed_5c", 256, 64),
    *block_a("Mixed_5d", 288, 64),
    ("Mixed_6a.branch3x3", 288, 384, (3, 3), 2, (0, 0), 17),
    ("Mixed_6a.branch3x3dbl_1", 288, 64, (1, 1), 1, (0, 0), 35),
    ("Mixed_6a.branch3x3dbl_2", 64, 96, (3, 3), 1, (1, 1), 35),
    ("Mixed_6a.branch3x3dbl_3", 96, 96, (3, 3), 2, (0, 0), 17),
    *block_c("Mixed_6b", 128),
    *block_c("Mixed_6c", 160),
    *block_c("Mixed_6d", 160),
    *block_c("Mixed_6e", 192),
    ("Mixed_7a.branch3x3_1", 768, 192, (1, 1), 1, (0, 0), 17),
    ("Mixed_7a.branch3x3_2", 192, 320, (3, 3), 2, (0, 0), 8),
    ("Mixed_7a.branch7x7x3_1", 768, 192, (1, 1), 1, (0, 0), 17),
    ("Mixed_7a.branch7x7x3_2", 192, 192, (1, 7), 1, (0, 3), 17),
    ("Mixed_7a.branch7x7x3_3", 192, 192, (7, 1), 1, (3, 0), 17),
    ("Mixed_7a.branch7x7x3_4", 192, 192, (3, 3), 2, (0, 0), 8),
    *block_e("Mixed_7b", 1280),
    *block_e("Mixed_7c", 2048),
)


def random_inception() -> dict[str, Tensor]:
    """Random weights of the table's shapes, named as in the public state dict"""
    generator = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}
    for name, i, o, kernel, *_ in TABLE:
        gain = (2 / (i * math.prod(kernel))) ** 0.5
        weights[f"{name}.conv.weight"] = torch.randn(o, i, *kernel, generator=generator) * gain
        weights[f"{name}.bn.weight"] = torch.rand(o, generator=generator) + 0.5
        weights[f"{name}.bn.bias"] = torch.randn(o, generator=generator) / 4
        weights[f"{name}.bn.running_mean"] = torch.randn(o, generator=generator) / 4
        weights[f"{name}.bn.running_var"] = torch.rand(o, generator=generator) + 0.5
        weights[f"{name}.bn.num_batches_tracked"] = torch.tensor(0)
    weights["fc.weight"] = torch.randn(1008, 2048, generator=generator) / 2048**0.5
    weights["fc.bias"] = torch.randn(1008, generator=generator)
    return weights
