"""Strengths of the transforms, and the matrices of geometry and colour that they make.

N batch. Everything here is N small numbers on the CPU, so that the pipe knows its margins without asking the device.
What counts is the number of operations, not of numbers: strengths of one distribution are made together, and so are the
matrices of all transforms.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

_AXIS = torch.tensor(1 / math.sqrt(3))  # each coordinate of the unit vector of the grey axis
LUMA, LUMA_SQUARED = _AXIS.item(), _AXIS.square().item()  # rounded as a product of float32 is


class Strength(NamedTuple):
    """Distribution of one strength of a transform"""

    transform: str
    kind: str  # a key of KINDS
    scale: float
    width: int = 1  # numbers for each image, which share a coin
    at_percentile: bool = True  # whether it is applied when strengths are fixed for tests


# From numbers drawn [R, N] and scales [R, 1] to strengths [R, N]
KINDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "count": lambda uniform, scale: (uniform * scale).floor(),
    "span": lambda uniform, scale: (uniform * 2 - 1) * scale,
    # Row by row: on a CPU the last bit of exp2 depends on where a number is in memory, so on the other transforms.
    "power": lambda normal, scale: torch.stack([torch.exp2(row) for row in normal * scale]),
    "normal": lambda normal, scale: normal * scale,
    "half_normal": lambda normal, scale: normal.abs() * scale,
}
COLOURS = ("brightness", "contrast", "lumaflip", "hue", "saturation")
UNIFORM = ("count", "span")  # the others are made of normal numbers
Entries = tuple[Tensor, ...]  # of a matrix, by rows [N]
Strengths = Mapping[str, Sequence[Tensor]]  # of each transform that is on: its numbers [N], in the order of their rows


def draw(n: int, rows: Sequence[tuple[Strength, float]], percentile: float | None) -> Strengths:
    """Draw strengths for n images, each applied with the probability next to it, else the value that does nothing.

    With a percentile every strength sits there and is applied.
    """
    if not rows:
        return {}
    numbers, coins = _draw_numbers(n, rows) if percentile is None else _numbers_at(n, rows, percentile)
    parts = [
        (strength, probability, number, coin)
        for (strength, probability), own, coin in zip(rows, numbers, coins, strict=True)
        for number in (own.view(n, strength.width).unbind(1) if strength.width > 1 else [own])
    ]
    parts.sort(key=lambda part: part[0].kind)
    values = []
    for kind, group in groupby(parts, key=lambda part: part[0].kind):
        strengths, _, raw, _ = zip(*group, strict=True)
        values.append(KINDS[kind](torch.stack(raw), _column(strength.scale for strength in strengths)))
    value = torch.cat(values)
    if percentile is None:
        applied = torch.stack([coin for *_, coin in parts]) < _column(probability for _, probability, *_ in parts)
        value = torch.where(applied, value, _column(float(strength.kind == "power") for strength, *_ in parts))
    out: dict[str, list[Tensor]] = {}
    for (strength, *_), row in zip(parts, value.unbind(), strict=True):
        out.setdefault(strength.transform, []).append(row)
    return out


def _column(numbers: Iterable[float]) -> Tensor:
    return torch.tensor(list(numbers))[:, None]


def _draw_numbers(n: int, rows: Sequence[tuple[Strength, float]]) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Numbers [N * width] of each strength and its coins [N], drawn in turns

    Uniform numbers that follow each other are one call, which gives the same numbers as several.
    """
    sizes = [size for strength, _ in rows for size in (n * strength.width, n)]
    uniform = [kind in UNIFORM for strength, _ in rows for kind in (strength.kind, "count")]
    flat, start = torch.empty(sum(sizes)), 0
    for is_uniform, run in groupby(zip(uniform, sizes, strict=True), key=lambda pair: pair[0]):
        stop = start + sum(size for _, size in run)
        piece = flat[start:stop]
        piece.uniform_() if is_uniform else piece.normal_()
        start = stop
    parts = flat.split(sizes)
    return parts[::2], parts[1::2]


def _numbers_at(
    n: int, rows: Sequence[tuple[Strength, float]], percentile: float
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """As `_draw_numbers`, but at a percentile, and coins that nobody looks at"""
    # The published test mode leaves out the sqrt(2) of the true quantile; kept, so that its numbers compare.
    uniform = torch.tensor([percentile, 2 * percentile - 1])
    half_normal, normal = uniform.erfinv()
    at = {"normal": normal, "power": normal, "half_normal": half_normal}
    numbers = [at.get(strength.kind, uniform[0]).expand(n * strength.width) for strength, _ in rows]
    return numbers, numbers


def geometry(strengths: Strengths, n: int, height: int, width: int) -> Tensor:
    """Inverse map from output to input pixels about the image centre  -> [N, 3, 3]"""
    zero, one = torch.zeros(n), torch.ones(n)

    def linear(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Entries:
        return a, b, zero, c, d, zero, zero, zero, one

    def shift(x: Tensor, y: Tensor) -> Entries:
        return one, zero, x, zero, one, y, zero, zero, one

    def of(name: str) -> Sequence[Tensor]:
        return strengths.get(name, ())

    # The pipe counts quarter turns of square images, half turns of others.
    quarters = [turn * (math.pi / 2 if height == width else math.pi) for turn in of("rotate90")]
    turns = [linear(cos, -sin, sin, cos) for cos, sin in _cos_sin([*quarters, *of("rotate")])]
    first = len(quarters)
    matrices = [linear(1 - 2 * flip, zero, zero, one) for flip in of("xflip")] + turns[:first]
    if of("xint"):
        x, y = of("xint")
        matrices.append(shift((x * -width).round(), (y * -height).round()))
    matrices += [linear(inverse, zero, zero, inverse) for inverse in map(torch.reciprocal, of("scale"))]
    # Two rotations around the anisotropic scaling.
    matrices += turns[first : first + 1]
    matrices += [linear(factor.reciprocal(), zero, zero, factor) for factor in of("aniso")]
    matrices += turns[first + 1 :]
    if of("xfrac"):
        x, y = of("xfrac")
        matrices.append(shift(x * -width, y * -height))
    return reduce(torch.bmm, _stack(matrices, n, 3))


def color(strengths: Strengths, n: int) -> Tensor:
    """Map of homogeneous colours  -> [N, 4, 4]"""
    zero, one = torch.zeros(n), torch.ones(n)

    def linear(d: Tensor, e: Tensor, f: Tensor) -> Entries:
        """Circulant, because every transform treats the three channels alike"""
        return d, f, e, zero, e, d, f, zero, f, e, d, zero, zero, zero, zero, one

    def of(name: str) -> Sequence[Tensor]:
        return strengths.get(name, ())

    matrices: list[Entries] = [
        (one, zero, zero, shift, zero, one, zero, shift, zero, zero, one, shift, zero, zero, zero, one)
        for shift in of("brightness")
    ]
    matrices += [linear(factor, zero, zero) for factor in of("contrast")]
    for twice in [flip * (2 * LUMA_SQUARED) for flip in of("lumaflip")]:  # Householder, at the plane of zero luma
        matrices.append(linear(1 - twice, -twice, -twice))
    for cos, sin in _cos_sin(of("hue")):  # about the luma axis (Rodrigues)
        along, across = (1 - cos) * LUMA_SQUARED, sin * LUMA
        matrices.append(linear(cos + along, along + across, along - across))
    for factor in of("saturation"):  # off the luma axis
        other = LUMA_SQUARED - LUMA_SQUARED * factor
        matrices.append(linear(LUMA_SQUARED + (1 - LUMA_SQUARED) * factor, other, other))
    return reduce(lambda product, matrix: torch.bmm(matrix, product), _stack(matrices, n, 4))


def _cos_sin(angles: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    if not angles:
        return []
    theta = torch.stack(list(angles))
    return list(zip(theta.cos().unbind(), theta.sin().unbind(), strict=True))


def _stack(matrices: Sequence[Entries], n: int, size: int) -> Sequence[Tensor]:
    """Matrices [N, size, size] of their entries [N]; the identity if there are none"""
    if not matrices:
        return [torch.eye(size).expand(n, -1, -1)]
    entries = torch.stack([entry for matrix in matrices for entry in matrix])
    return entries.view(len(matrices), size, size, n).permute(0, 3, 1, 2).unbind()
