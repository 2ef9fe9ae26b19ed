"""Curves through points: where they pass, how smooth they are, and against SciPy's splines."""

import math

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from stylegan.drawing.curves import Curve, through

CURVES: tuple[Curve, ...] = ("linear", "spherical", "cubic")


@pytest.mark.parametrize("curve", CURVES)
def test_a_loop_passes_through_every_key_and_does_not_repeat_the_first(curve: Curve) -> None:
    keys = torch.randn(4, 3, 5)
    points = through(keys, 6, curve=curve, loop=True)
    assert points.shape == (24, 3, 5)
    torch.testing.assert_close(points[::6], keys)


@pytest.mark.parametrize("curve", CURVES)
def test_an_open_curve_ends_with_the_last_key(curve: Curve) -> None:
    keys = torch.randn(4, 5)
    points = through(keys, 6, curve=curve, loop=False)
    assert points.shape == (19, 5)
    torch.testing.assert_close(points[::6], keys)


def test_a_straight_curve_is_even_between_its_keys() -> None:
    points = through(torch.tensor([[0.0], [4.0], [0.0]]), 4, curve="linear", loop=False)
    assert points.flatten().tolist() == [0, 1, 2, 3, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(("loop", "ends"), [(True, "periodic"), (False, "natural")])
@pytest.mark.parametrize("num", [2, 3, 7])
def test_the_cubic_curve_is_scipys_spline(loop: bool, ends: str, num: int) -> None:
    keys = torch.randn(num, 5, dtype=torch.float64)
    y = torch.cat([keys, keys[:1]]) if loop else keys
    spline = CubicSpline(np.arange(len(y)), y.numpy(), bc_type=ends)
    points = through(keys, 9, curve="cubic", loop=loop)
    expected = torch.from_numpy(spline(np.arange(len(points)) / 9))
    torch.testing.assert_close(points, expected, atol=1e-12, rtol=0)  # two solvers in float64


def test_spherical_steps_turn_by_equal_angles_and_the_length_goes_evenly() -> None:
    keys = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    points = through(keys, 3, curve="spherical", loop=False)
    angles = torch.atan2(points[:, 1], points[:, 0])
    torch.testing.assert_close(angles, torch.arange(4) * math.pi / 6)
    torch.testing.assert_close(points.norm(dim=1), torch.tensor([2, 8 / 3, 10 / 3, 4]))


def test_spherical_arcs_keep_the_distance_from_their_center() -> None:
    center = torch.randn(5)
    keys = center + 3 * torch.nn.functional.normalize(torch.randn(4, 2, 5), dim=-1)
    points = through(keys, 8, curve="spherical", loop=True, center=center)
    torch.testing.assert_close((points - center).norm(dim=-1), torch.full((32, 2), 3.0))


@pytest.mark.parametrize("other", [[2.0, 0.0], [1.0, 1e-9], [-1.0, 0.0], [0.0, 0.0]])
def test_a_spherical_arc_without_a_direction_to_turn_is_straight(other: list[float]) -> None:
    keys = torch.tensor([[1.0, 0.0], other])
    arc = through(keys, 4, curve="spherical", loop=False)
    torch.testing.assert_close(arc, through(keys, 4, curve="linear", loop=False))


@pytest.mark.parametrize("curve", CURVES)
def test_one_key_is_refused(curve: Curve) -> None:
    with pytest.raises(ValueError, match=r"^an interpolation needs at least two points, got 1$"):
        through(torch.zeros(1, 3), 4, curve=curve, loop=True)
