"""Homogeneous matrices of the geometric and colour transforms, and the draws that parameterise them.

N batch. Everything here is N small numbers on the CPU, so that the pipe knows its margins without asking the device.
"""

import math

import torch
from torch import Tensor

LUMA = torch.full((3,), 1 / math.sqrt(3))  # unit vector of the grey axis


class Draws:
    """Strengths and coins of one batch; with a percentile, every strength sits there and every coin says apply."""

    def __init__(self, n: int, p: float, percentile: float | None) -> None:
        self.n, self.p, self.percentile = n, p, percentile

    def uniform(self, *shape: int) -> Tensor:
        """U(0, 1)  -> [N, *shape]"""
        return torch.rand(self.n, *shape) if self.percentile is None else torch.full((self.n, *shape), self.percentile)

    def normal(self, *shape: int) -> Tensor:
        """N(0, 1)  -> [N, *shape]"""
        if self.percentile is None:
            return torch.randn(self.n, *shape)
        # The published test mode leaves out the sqrt(2) of the true quantile; kept, so that its numbers compare.
        return torch.erfinv(torch.full((self.n, *shape), 2 * self.percentile - 1))

    def half_normal(self) -> Tensor:
        """|N(0, 1)|  -> [N]"""
        if self.percentile is None:
            return torch.randn(self.n).abs()
        return torch.erfinv(torch.full((self.n,), self.percentile))

    def choose(self, probability: float, strength: Tensor, neutral: float) -> Tensor:
        """Per image: strength with the given probability, else the value that does nothing."""
        if self.percentile is not None:
            return strength
        coin = torch.rand(self.n, *[1] * (strength.ndim - 1)) < probability
        return torch.where(coin, strength, neutral)


def identity(n: int, size: int) -> Tensor:
    """[N, size, size]"""
    return torch.eye(size).expand(n, -1, -1).clone()


def translate2d(x: Tensor | float, y: Tensor | float) -> Tensor:
    """Shift by x, y [N] or scalar -> [N or 1, 3, 3]"""
    rows = torch.atleast_1d(torch.as_tensor(x))
    matrix = identity(rows.shape[0], 3)
    matrix[:, 0, 2], matrix[:, 1, 2] = rows, y
    return matrix


def scale2d(x: Tensor | float, y: Tensor | float) -> Tensor:
    """Scale by x, y [N] or scalar -> [N or 1, 3, 3]"""
    rows = torch.atleast_1d(torch.as_tensor(x))
    matrix = identity(rows.shape[0], 3)
    matrix[:, 0, 0], matrix[:, 1, 1] = rows, y
    return matrix


def rotate2d(theta: Tensor) -> Tensor:
    """Rotate by theta [N], radians -> [N, 3, 3]"""
    matrix = identity(theta.shape[0], 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = theta.cos()
    matrix[:, 1, 0] = theta.sin()
    matrix[:, 0, 1] = -theta.sin()
    return matrix


def brightness(shift: Tensor) -> Tensor:
    """Add shift [N] to every channel -> [N, 4, 4]"""
    matrix = identity(shift.shape[0], 4)
    matrix[:, :3, 3] = shift[:, None]
    return matrix


def linear_color(matrix3: Tensor) -> Tensor:
    """Linear map of RGB [N, 3, 3] -> [N, 4, 4]"""
    matrix = identity(matrix3.shape[0], 4)
    matrix[:, :3, :3] = matrix3
    return matrix


def contrast(factor: Tensor) -> Tensor:
    """Multiply every channel by factor [N] -> [N, 4, 4]"""
    return linear_color(torch.eye(3) * factor[:, None, None])


def luma_flip(flip: Tensor) -> Tensor:
    """Householder reflection about the plane of zero luma where flip [N] is 1 -> [N, 4, 4]"""
    return linear_color(torch.eye(3) - 2 * torch.outer(LUMA, LUMA) * flip[:, None, None])


def rotate_hue(theta: Tensor) -> Tensor:
    """Rotate colours by theta [N] about the luma axis (Rodrigues) -> [N, 4, 4]"""
    vx, vy, vz = LUMA.tolist()
    cross = torch.tensor([[0, -vz, vy], [vz, 0, -vx], [-vy, vx, 0]])
    outer = torch.outer(LUMA, LUMA)
    cos, sin = theta.cos()[:, None, None], theta.sin()[:, None, None]
    return linear_color(torch.eye(3) * cos + cross * sin + outer * (1 - cos))


def saturate(factor: Tensor) -> Tensor:
    """Scale colours by factor [N] off the luma axis -> [N, 4, 4]"""
    outer = torch.outer(LUMA, LUMA)
    return linear_color(outer + (torch.eye(3) - outer) * factor[:, None, None])
