"""Curves through points: straight, spherical, and cubic, closed or open.

K key points, T points on the curve, ... any further dimensions, the last one the coordinates.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

Curve = Literal["linear", "spherical", "cubic"]
PARALLEL = 1e-6  # below this sine of their angle two directions are taken for one, or for opposite ones


def through(keys: Tensor, steps: int, *, curve: Curve, loop: bool, center: Tensor | None = None) -> Tensor:
    """Points on a curve through the keys, in equal steps of its parameter  [K, ...] -> [T, ...]

    A loop returns to the first key, which is not repeated: T = K * steps. An open curve ends with the last key:
    T = (K - 1) * steps + 1. Spherical arcs turn around `center` [...], the origin when None; the others ignore it.
    Raises ValueError for fewer than two keys.
    """
    if len(keys) < 2:
        raise ValueError(f"an interpolation needs at least two points, got {len(keys)}")
    starts, ends = (keys, keys.roll(-1, dims=0)) if loop else (keys[:-1], keys[1:])
    t = torch.linspace(0, 1, steps + 1, device=keys.device, dtype=keys.dtype)[:-1]
    t = t.reshape(1, -1, *[1] * (keys.ndim - 1))
    a, b = starts[:, None], ends[:, None]
    if curve == "linear":
        points = a.lerp(b, t)
    elif curve == "spherical":
        points = slerp(a, b, t) if center is None else center + slerp(a - center, b - center, t)
    else:
        points = _spline(keys, steps, loop)
    points = points.flatten(0, 1)
    return points if loop else torch.cat([points, keys[-1:]])


def _spline(keys: Tensor, steps: int, loop: bool) -> Tensor:
    """The cubic with two continuous derivatives, closed or with straight ends  [K, ...] -> [pieces, steps, ...]"""
    from scipy.interpolate import CubicSpline  # here: it takes longer to import than most videos to draw

    y = torch.cat([keys, keys[:1]]) if loop else keys
    spline = CubicSpline(np.arange(len(y)), y.double().cpu().numpy(), bc_type="periodic" if loop else "natural")
    t = np.arange(len(y) - 1)[:, None] + np.arange(steps) / steps
    return torch.from_numpy(spline(t)).to(keys)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Along the great arc at constant angular speed (Shoemake 1985, Sec. 3.3); the length goes evenly from |a| to |b|.

    Where the directions agree the arc is straight; where they are opposite, or one is none, it is taken as straight.
    """
    length_a, length_b = a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True)
    unit_a, unit_b = a / length_a.clamp_min(1e-20), b / length_b.clamp_min(1e-20)
    # The half-angle formula is exact for small angles, where the arc cosine of a dot product loses half its digits.
    angle = 2 * torch.atan2((unit_a - unit_b).norm(dim=-1, keepdim=True), (unit_a + unit_b).norm(dim=-1, keepdim=True))
    sine = angle.sin()
    arc = (((1 - t) * angle).sin() * unit_a + (t * angle).sin() * unit_b) / sine.clamp_min(PARALLEL)
    straight = (sine < PARALLEL) | (length_a * length_b == 0)
    return torch.where(straight, a.lerp(b, t), arc * length_a.lerp(length_b, t))
