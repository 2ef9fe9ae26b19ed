"""stylegan.metrics.realism: how much single images look like real ones."""

import numpy as np
import pytest
import torch

from stylegan.metrics.arrays import MetricError
from stylegan.metrics.precision_recall import membership
from stylegan.metrics.realism import realism


def by_loops(real: np.ndarray, gen: np.ndarray, k: int) -> np.ndarray:
    """Kynkaanniemi et al. 2019, Eq. 3, as it stands there"""
    radius = np.array([np.sort(np.linalg.norm(real - each, axis=1))[k] for each in real])
    small = radius <= np.sort(radius)[(len(radius) - 1) // 2]  # torch's median: the lower of two
    return np.array([max(radius[small] / np.linalg.norm(real[small] - each, axis=1)) for each in gen])


def test_realism_is_that_of_the_equation() -> None:
    numbers = np.random.default_rng(0)
    real, gen = numbers.normal(size=(60, 5)), numbers.normal(1.0, size=(40, 5))
    found = realism(torch.from_numpy(real), torch.from_numpy(gen), 3)
    np.testing.assert_allclose(found, by_loops(real, gen, 3), rtol=1e-4)


def test_images_in_the_manifold_of_small_balls_have_a_realism_of_at_least_1() -> None:
    torch.manual_seed(0)
    real, gen = torch.randn(80, 4), 0.8 * torch.randn(50, 4)
    score, inside = realism(real, gen, 3), membership(real, gen, 3).gen_inside
    assert inside[score >= 1].all()
    assert score[inside].mean() > 2 * score[~inside].mean()


def test_copies_are_the_most_realistic_images_and_have_a_finite_score() -> None:
    torch.manual_seed(0)
    real = 20 * torch.randn(80, 4)
    score = realism(real, torch.cat([20 * torch.randn(30, 4), real[5:9]]), 3)
    assert score.isfinite().all()
    assert score[30:].max() > 10 * score[:30].max()


def test_fewer_samples_than_neighbours_are_refused() -> None:
    with pytest.raises(MetricError):
        realism(torch.zeros(3, 2), torch.zeros(9, 2), 3)
