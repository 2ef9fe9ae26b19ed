"""Curves through points: where they pass, how smooth they are, and how they bend."""

import math

import pytest
import torch

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


@pytest.mark.parametrize("loop", [True, False])
@pytest.mark.parametrize("num", [2, 3, 7])
def test_the_cubic_curve_has_the_bends_of_a_spline(loop: bool, num: int) -> None:
    """m[i-1] + 4 m[i] + m[i+1] = 6 (y[i-1] - 2 y[i] + y[i+1]); an open curve has none at its ends (de Boor 1978)."""
    keys = torch.randn(num, 5, dtype=torch.float64)
    eye = torch.eye(num, dtype=torch.float64)
    second_difference = eye.roll(1, dims=1) + eye.roll(-1, dims=1) - 2 * eye
    if not loop:
        second_difference[[0, -1]] = 0
    m = torch.linalg.solve(second_difference + 6 * eye, 6 * second_difference @ keys)
    (a, b), (m_a, m_b) = (((x, x.roll(-1, 0)) if loop else (x[:-1], x[1:])) for x in (keys, m))
    t = torch.arange(9, dtype=torch.float64)[None, :, None] / 9
    s = 1 - t
    bent = ((s**3 - s) * m_a[:, None] + (t**3 - t) * m_b[:, None]) / 6
    expected = (s * a[:, None] + t * b[:, None] + bent).flatten(0, 1)
    points = through(keys, 9, curve="cubic", loop=loop)
    torch.testing.assert_close(points[: len(expected)], expected, atol=1e-12, rtol=0)  # two solvers in float64


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
