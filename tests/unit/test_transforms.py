"""stylegan.augment.transforms: matrices of the augmentation and the draws behind them."""

import math

import pytest
import torch

from stylegan.augment import transforms as T

POINT = torch.tensor([2.0, 1.0, 1.0])
RED = torch.tensor([1.0, 0.0, 0.0, 1.0])


def test_geometric_matrices_move_points() -> None:
    quarter = torch.tensor([math.pi / 2])
    torch.testing.assert_close(T.translate2d(3.0, -1.0) @ POINT, torch.tensor([[5.0, 0.0, 1.0]]))
    torch.testing.assert_close(T.scale2d(2.0, 3.0) @ POINT, torch.tensor([[4.0, 3.0, 1.0]]))
    torch.testing.assert_close(T.rotate2d(quarter) @ POINT, torch.tensor([[-1.0, 2.0, 1.0]]))


def test_matrices_are_one_per_image() -> None:
    x = torch.tensor([1.0, 2.0])
    assert torch.equal((T.translate2d(x, -x) @ POINT)[:, :2], torch.tensor([[3.0, 0.0], [4.0, -1.0]]))
    assert T.identity(2, 3).shape == T.scale2d(x, x).shape == T.rotate2d(x).shape == (2, 3, 3)
    for colour in (T.brightness, T.contrast, T.luma_flip, T.rotate_hue, T.saturate):
        assert colour(x).shape == (2, 4, 4)


def test_brightness_adds_and_contrast_multiplies() -> None:
    torch.testing.assert_close(T.brightness(torch.tensor([0.5])) @ RED, torch.tensor([[1.5, 0.5, 0.5, 1.0]]))
    torch.testing.assert_close(T.contrast(torch.tensor([2.0])) @ RED, torch.tensor([[2.0, 0.0, 0.0, 1.0]]))


def test_luma_flip_negates_grey_and_keeps_the_colour_differences() -> None:
    flip = T.luma_flip(torch.tensor([1.0]))
    grey = torch.tensor([0.4, 0.4, 0.4, 1.0])
    torch.testing.assert_close(flip @ grey, torch.tensor([[-0.4, -0.4, -0.4, 1.0]]))
    out = (flip @ RED)[0]
    torch.testing.assert_close(out[0] - out[1], torch.tensor(1.0))
    torch.testing.assert_close(flip @ flip, T.identity(1, 4), rtol=0, atol=1e-6)
    assert torch.equal(T.luma_flip(torch.tensor([0.0])), T.identity(1, 4))


def test_hue_rotation_by_a_third_turn_permutes_the_channels() -> None:
    rotated = T.rotate_hue(torch.tensor([2 * math.pi / 3])) @ RED
    torch.testing.assert_close(rotated, torch.tensor([[0.0, 1.0, 0.0, 1.0]]), rtol=0, atol=1e-6)


def test_saturation_scales_the_distance_from_grey() -> None:
    grey = T.saturate(torch.tensor([0.0])) @ RED
    torch.testing.assert_close(grey[0, :3], torch.full((3,), 1 / 3))
    torch.testing.assert_close(T.saturate(torch.tensor([1.0])), T.identity(1, 4), rtol=0, atol=1e-6)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_strength_is_chosen_with_the_probability(probability: float) -> None:
    draws = T.Draws(20000, p=1.0, percentile=None)
    chosen = draws.choose(probability, torch.ones(20000), 0.0)
    # One standard deviation of the share is at most 0.0035.
    assert chosen.mean().item() == pytest.approx(probability, abs=0.015 if 0 < probability < 1 else 0)


def test_one_coin_serves_both_axes_of_an_image() -> None:
    chosen = T.Draws(100, p=1.0, percentile=None).choose(0.5, torch.ones(100, 2), 0.0)
    assert torch.equal(chosen[:, 0], chosen[:, 1])


def test_random_draws_have_their_distribution() -> None:
    draws = T.Draws(20000, p=1.0, percentile=None)
    # Three standard deviations of a mean of 20000 values are at most 0.02.
    assert draws.uniform().mean().item() == pytest.approx(0.5, abs=0.02)
    assert draws.normal().std().item() == pytest.approx(1.0, abs=0.02)
    assert draws.half_normal().mean().item() == pytest.approx(math.sqrt(2 / math.pi), abs=0.02)
    assert draws.normal(2).shape == draws.uniform(2).shape == (20000, 2)


def test_percentile_fixes_every_strength_and_every_coin() -> None:
    draws = T.Draws(3, p=0.0, percentile=0.8)
    assert torch.equal(draws.uniform(), torch.full((3,), 0.8))
    assert torch.equal(T.Draws(3, 0.0, 0.5).normal(), torch.zeros(3))
    assert (draws.normal() == draws.normal()[0]).all()
    assert draws.normal()[0] > 0
    assert (draws.half_normal() > 0).all()
    assert torch.equal(draws.choose(0.0, torch.ones(3), 0.0), torch.ones(3))
