"""stylegan.metrics.left_out: distances without each image, and how well they foretell what other images would give."""

import pytest
import torch
from torch import Tensor

from stylegan.metrics.arrays import MetricError
from stylegan.metrics.kid import kernel_distance
from stylegan.metrics.left_out import LeftOut, kernel_distance_left_out


def draw(count: int, seed: int, shift: float = 0.0) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)).double() + shift


def test_values_are_those_of_the_distance_without_each_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stylegan.metrics.left_out.BLOCK_ROWS", 5)
    real, gen = draw(12, 0), draw(12, 1, 0.3)
    found = kernel_distance_left_out(real, gen)
    assert found.value == pytest.approx(kernel_distance(real, gen, 1, 12), rel=1e-9)  # sums in another order
    for i in (0, 7, 11):
        kept = [row for row in range(12) if row != i]
        one, other = kernel_distance_left_out(real[kept], gen), kernel_distance_left_out(real, gen[kept])
        assert float(found.without_real[i]) == pytest.approx(one.value, rel=1e-9)
        assert float(found.without_gen[i]) == pytest.approx(other.value, rel=1e-9)


@pytest.mark.parametrize(("shift", "most"), [(0.0, 1.6), (0.5, 1.2)])
def test_the_standard_error_is_the_spread_over_other_images_or_a_little_more(shift: float, most: float) -> None:
    found = [kernel_distance_left_out(draw(40, 2 * n), draw(40, 2 * n + 1, shift)) for n in range(400)]
    spread = torch.tensor([each.value for each in found]).std()
    error = torch.tensor([each.standard_error for each in found]).square().mean().sqrt()
    assert 0.9 < error / spread < most  # 400 runs know a spread to 4%; equal distributions are overstated by 1.4


def pair(n: int, change: float) -> LeftOut:
    """Two generators that share latents and real images, the second a little worse"""
    real, gen = draw(40, 2 * n), draw(40, 2 * n + 1, 0.5)
    return kernel_distance_left_out(real, gen * (1 + change)) - kernel_distance_left_out(real, gen)


def test_what_generators_share_cancels_in_the_error_of_their_difference() -> None:
    found = [pair(n, 0.05) for n in range(200)]
    spread = torch.tensor([each.value for each in found]).std()
    error = torch.tensor([each.standard_error for each in found]).square().mean().sqrt()
    alone = kernel_distance_left_out(draw(40, 0), draw(40, 1, 0.5)).standard_error
    assert 0.85 < error / spread < 1.25  # 200 runs know a spread to 5%
    assert error < 0.5 * alone


def test_an_equal_generator_differs_by_nothing() -> None:
    found = pair(0, 0.0)
    assert (found.value, found.standard_error) == (0, 0)


def test_fewer_than_three_images_are_refused() -> None:
    with pytest.raises(MetricError, match="at least 3 of each are needed"):
        kernel_distance_left_out(draw(2, 0), draw(3, 0))
