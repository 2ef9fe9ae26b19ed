"""How often intervals of 95% cover: `python -m benchmarks.intervals`, five minutes. The figures are in docs/metrics.md.

Features with a known distribution are drawn many times. The truth is the mean over all draws, since a number of so many
images is an estimate of that mean. Compared are the half samples of stylegan/metrics/half_samples.py, the delete-group
jackknife over both sets, and balls that stay as they are while the images asked about are resampled.
N real, M generated samples, F features.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from stylegan.metrics import membership
from stylegan.metrics.half_samples import TERMS, manifold_intervals
from stylegan.metrics.precision_recall import Membership

REPEATS, RESAMPLES, GROUPS, K, LEVEL, Z = 200, 20, 10, 3, 0.95, 1.96


class Case(NamedTuple):
    """Normal real features, and generated ones that are shifted and scaled."""

    num_real: int
    num_gen: int
    num_features: int
    shift: float
    scale: float


CASES = (
    Case(300, 300, 2, 0.7, 1.0),
    Case(300, 300, 8, 0.35, 0.8),
    Case(300, 300, 64, 0.125, 0.9),
    Case(200, 150, 64, 0.25, 0.95),
    Case(500, 200, 64, 0.125, 1.0),
)


def numbers_of(found: Membership) -> Tensor:
    """Precision, recall, density and coverage [4]"""
    return torch.tensor([getattr(found, term) for term in TERMS], dtype=torch.float64)


def fixed_balls(found: Membership, real: Tensor, gen: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Bounds [4] with balls that stay"""
    terms = (found.gen_inside, found.real_inside, found.gen_balls / found.k, found.real_covered)
    error = torch.stack([values.double().var() / len(values) for values in terms]).sqrt()
    return numbers_of(found) - Z * error, numbers_of(found) + Z * error


def jackknife(found: Membership, real: Tensor, gen: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Bounds [4] by leaving out a tenth of both sets in turn"""
    group_x, group_y = torch.arange(len(real)) % GROUPS, torch.arange(len(gen)) % GROUPS
    left = [numbers_of(membership(real[group_x != g], gen[group_y != g], K)) for g in range(GROUPS)]
    error = ((GROUPS - 1) ** 2 / GROUPS * torch.stack(left).var(dim=0)).sqrt()
    return numbers_of(found) - Z * error, numbers_of(found) + Z * error


def half_samples(found: Membership, real: Tensor, gen: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Bounds [4] by complementary half samples"""
    intervals = manifold_intervals(real, gen, found, RESAMPLES, seed, LEVEL)
    return torch.tensor([intervals[term].low for term in TERMS]), torch.tensor([intervals[term].high for term in TERMS])


METHODS: dict[str, Callable[[Membership, Tensor, Tensor, int], tuple[Tensor, Tensor]]] = {
    "balls that stay": fixed_balls,
    "jackknife": jackknife,
    "half samples": half_samples,
}


def coverage_of(case: Case) -> dict[str, Tensor]:
    """Share [4] of the intervals of each method that hold the truth"""
    numbers, found, bounds = torch.Generator().manual_seed(0), [], {name: [] for name in METHODS}  # type: ignore[var-annotated]
    for seed in range(REPEATS):
        real = torch.randn(case.num_real, case.num_features, generator=numbers, dtype=torch.float64)
        gen = torch.randn(case.num_gen, case.num_features, generator=numbers, dtype=torch.float64)
        gen = case.scale * gen + case.shift
        whole = membership(real, gen, K)
        found.append(numbers_of(whole))
        for name, method in METHODS.items():
            bounds[name].append(method(whole, real, gen, seed))
    truth = torch.stack(found).mean(dim=0)
    return {
        name: torch.stack([(low <= truth) & (truth <= high) for low, high in each]).double().mean(dim=0)
        for name, each in bounds.items()
    }


def main() -> None:
    """Print a table: for each case and method the coverage of each number."""
    print(f"{'real':>5}{'gen':>5}{'F':>4}  {'method':16}" + "".join(f"{term:>11}" for term in TERMS))
    for case in CASES:
        for name, shares in coverage_of(case).items():
            start = f"{case.num_real:5}{case.num_gen:5}{case.num_features:4}  {name:16}"
            print(start + "".join(f"{share:11.3f}" for share in shares.tolist()), flush=True)


if __name__ == "__main__":
    main()
