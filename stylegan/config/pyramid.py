"""Which image sizes the networks can make: a base of at least 4 x 4 pixels, doubled n times.

The official networks start from 4 x 4; here the base takes whatever shape the image leaves when it is halved. Knows no
torch, so that the configuration can ask. Sizes are (height, width), or one number for a square.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import log
from typing import TypeAlias

Resolution: TypeAlias = int | tuple[int, int]

MIN_BASE = 4
# The base is learnt as constants and read by one dense layer of base area x channels^2 weights: 4 million for 4 x 4,
# 67 million for 16 x 16, more than all the rest. It also bounds the shape: no image is longer than 4 : 1.
MAX_BASE = 16
MAX_SIDE = 4096  # pixels, four times the published networks


@dataclass(frozen=True)
class Pyramid:
    """base_height x base_width doubled num_doublings times; level 0 is the base."""

    base_height: int
    base_width: int
    num_doublings: int

    @property
    def num_ws(self) -> int:
        """L, style layers of the generator: two a level, of which the last serves the image"""
        return 2 * self.num_doublings + 2

    @property
    def nominal(self) -> list[int]:
        """4, 8, 16, ...: by these the official format names the blocks of levels 0 to n, whatever the base"""
        return [4 * 2**level for level in range(self.num_doublings + 1)]

    def size(self, level: int) -> tuple[int, int]:
        """(height, width) of a level, pixels"""
        return self.base_height * 2**level, self.base_width * 2**level

    def longer_side(self, level: int) -> int:
        """By this channels are counted, so that an image costs no more than the square around it."""
        return max(self.size(level))


def sides(resolution: Resolution | Sequence[int]) -> tuple[int, int]:
    """(height, width)"""
    height, width = (resolution, resolution) if isinstance(resolution, int) else resolution
    return height, width


def plain(resolution: Resolution | Sequence[int]) -> Resolution:
    """One number for a square, (height, width) for the rest: the form that is compared and stored"""
    height, width = sides(resolution)
    return height if height == width else (height, width)


def pyramid(resolution: Resolution | Sequence[int]) -> Pyramid:
    """Halve both sides while both are even and stay at least 4: 32 -> 4 x 4 (n = 3), 48 x 80 -> 6 x 10 (n = 3).

    Raises ValueError that names the nearest usable sizes when the base is too large, too small or never doubled.
    """
    height, width = sides(resolution)
    if max(height, width) > MAX_SIDE:
        raise ValueError(
            f"resolution is {spelt(resolution)}; images have at most {MAX_SIDE} pixels a side. "
            "Set prepare.resolution to a smaller size."
        )
    num_doublings = 0
    while height % 2 == width % 2 == 0 and min(height, width) >= 2 * MIN_BASE:
        height, width, num_doublings = height // 2, width // 2, num_doublings + 1
    if num_doublings == 0 or max(height, width) > MAX_BASE:
        remedy = " or ".join(spelt(size) for size in _nearest(resolution))
        raise ValueError(
            f"resolution is {spelt(resolution)}; the networks double a base of {MIN_BASE} to {MAX_BASE} pixels a side, "
            f"and this one comes to {height} x {width}. Set prepare.resolution to {remedy}."
        )
    return Pyramid(height, width, num_doublings)


def spelt(resolution: Resolution | Sequence[int]) -> str:
    """As params.yaml says it: 64, or [48, 80] for height 48 and width 80"""
    value = plain(resolution)
    return str(value) if isinstance(value, int) else str(list(value))


def _nearest(resolution: Resolution | Sequence[int]) -> list[Resolution]:
    """The nearest usable square below and above, or the two rectangles that change the sides least"""
    height, width = sides(resolution)
    bases, doublings = range(MIN_BASE, MAX_BASE + 1), range(1, max(height, width, MIN_BASE).bit_length())
    if height == width:
        usable = sorted({base * 2**n for base, n in product(bases, doublings)})
        below, above = [side for side in usable if side < height], [side for side in usable if side > height]
        return [*below[-1:], *above[:1]]
    pairs = {plain((h * 2**n, w * 2**n)) for h, w, n in product(bases, bases, doublings)}
    return sorted(pairs, key=lambda pair: (_distance(pair, (height, width)), sides(pair)))[:2]


def _distance(resolution: Resolution, wanted: tuple[int, int]) -> float:
    return sum(abs(log(side / target)) for side, target in zip(sides(resolution), wanted, strict=True))
