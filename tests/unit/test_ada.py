"""stylegan.augment.ada: the controller of the augmentation probability."""

import math

import pytest

from stylegan.augment import adjust_p, validation_ratio


def adjust(p: float, r_t: float, nimg: int = 100, ada_kimg: float = 1.0, p_max: float = 1.0) -> float:
    return adjust_p(p, r_t, target=0.6, nimg=nimg, ada_kimg=ada_kimg, p_max=p_max)


@pytest.mark.parametrize(("r_t", "start", "end"), [(0.7, 0.0, 1.0), (0.5, 1.0, 0.0)])
def test_p_moves_one_unit_in_ada_kimg(r_t: float, start: float, end: float) -> None:
    p = start
    for _ in range(10):
        p = adjust(p, r_t, nimg=500, ada_kimg=5.0)
    assert p == pytest.approx(end)


@pytest.mark.parametrize(("r_t", "expected"), [(1.0, 0.6), (0.61, 0.6), (0.6, 0.5), (0.59, 0.4), (-1.0, 0.4)])
def test_p_follows_the_sign_of_the_distance_to_the_target(r_t: float, expected: float) -> None:
    assert adjust(0.5, r_t) == pytest.approx(expected)


def test_p_never_falls_below_zero() -> None:
    assert adjust(0.05, -1.0) == 0
    assert adjust(0.0, -1.0) == 0


def test_p_never_rises_above_p_max() -> None:
    assert adjust(0.75, 1.0, p_max=0.8) == 0.8
    assert adjust(0.8, 1.0, p_max=0.8) == 0.8


@pytest.mark.parametrize(
    ("holdout", "r_v"), [(3.0, 0.0), (2.0, 0.25), (1.0, 0.5), (-1.0, 1.0), (4.0, -0.25)]
)  # fmt: skip
def test_r_v_is_where_held_out_images_lie_between_training_and_generated_ones(holdout: float, r_v: float) -> None:
    assert validation_ratio(3.0, holdout, -1.0) == r_v


def test_p_stays_where_r_v_has_no_value() -> None:
    assert math.isnan(validation_ratio(1.0, 0.5, 1.0))
    assert adjust(0.5, validation_ratio(1.0, 0.5, 1.0)) == 0.5
