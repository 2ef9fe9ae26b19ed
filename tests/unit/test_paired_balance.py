"""stylegan.metrics.half_samples.balance_error: how far a difference in balance would move with other images."""

import torch
from torch import Tensor

from stylegan.metrics.half_samples import balance_error, half_samples
from stylegan.metrics.precision_recall import membership


def draw(seed: int) -> Tensor:
    return torch.randn(40, 3, generator=torch.Generator().manual_seed(seed)).double()


def sets(n: int) -> tuple[Tensor, list[Tensor]]:
    """Real images, and a generator at two truncations, which share latents"""
    return draw(2 * n), [psi * draw(2 * n + 1) for psi in (1.0, 0.6)]


def balance(real: Tensor, gen: Tensor) -> float:
    found = membership(real, gen, 3)
    return 2 * found.precision * found.recall / (found.precision + found.recall)


def test_the_error_of_a_difference_is_its_spread_over_other_images_and_that_of_equal_generators_is_0() -> None:
    drawn = [sets(n) for n in range(100)]
    spread = torch.tensor([balance(real, gens[0]) - balance(real, gens[1]) for real, gens in drawn]).std()
    halves = [[half_samples(real, gen, 3, 20, seed=0) for gen in gens] for real, gens in drawn[:20]]
    error = torch.tensor([balance_error(*pair) for pair in halves]).square().mean().sqrt()
    assert 0.7 < error / spread < 1.45  # 100 runs know a spread to 7%, and 20 halvings an error to 15%
    assert balance_error(halves[0][0], halves[0][0]) == 0


def test_a_half_without_precision_or_recall_has_no_balance_and_no_division_by_zero() -> None:
    real, (gen, _) = sets(0)
    far = half_samples(real, gen + 100, 3, 5, seed=0)
    assert balance_error(far, far) == 0
    assert 0 < balance_error(far, half_samples(real, gen, 3, 5, seed=0)) < 1
