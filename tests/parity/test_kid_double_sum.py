"""The kernel distance against the double sum of its definition, written as loops."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from stylegan.metrics import kernel_distance
from stylegan.metrics.arrays import MetricError
from stylegan.metrics.kid import kernel_distances

Array = npt.NDArray[np.float64]


def double_sum(x: Array, y: Array) -> float:
    """Binkowski et al. 2018, Eq. 4, term by term"""
    m, f = x.shape
    within = between = 0.0
    for i in range(m):
        for j in range(m):
            if i != j:
                within += (x[i] @ x[j] / f + 1) ** 3 + (y[i] @ y[j] / f + 1) ** 3
            between += (x[i] @ y[j] / f + 1) ** 3
    return float(within / (m * (m - 1)) - 2 * between / m**2)


def sets(real: int = 12, gen: int = 12) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((real, 5)), rng.standard_normal((gen, 5)) * 1.5 + 0.3


def test_one_whole_subset_is_the_double_sum() -> None:
    x, y = sets()
    value = kernel_distance(x, y, num_subsets=1, subset_size=12, seed=3)
    assert value == pytest.approx(double_sum(x, y), rel=1e-10)  # fp64 sums in another order


@pytest.mark.parametrize("num_subsets", [2, 200], ids=["kernel of each subset", "one kernel of the whole"])
def test_subsets_are_averages_over_seeded_draws(num_subsets: int) -> None:
    x, y = sets(real=40, gen=30)
    rng = np.random.default_rng(7)
    draws = [(rng.choice(40, 6, replace=False), rng.choice(30, 6, replace=False)) for _ in range(num_subsets)]
    expected = np.mean([double_sum(x[i], y[j]) for i, j in draws])
    value = kernel_distance(x, y, num_subsets=num_subsets, subset_size=6, seed=7)
    assert value == pytest.approx(expected, rel=1e-10)  # fp64 sums in another order


def test_equal_distributions_score_zero_on_average() -> None:
    rng = np.random.default_rng(1)
    values = kernel_distances(rng.standard_normal((400, 4)), rng.standard_normal((400, 4)), 100, 100, 0)
    # The subsets share 400 samples a side: a biased estimate would sit near (E k(x, x) - E k(x, y)) * 2 / m = +0.1.
    assert abs(float(values.mean())) < 0.03


def test_a_subset_is_at_most_the_smaller_set() -> None:
    x, y = sets(real=12, gen=8)
    assert len(kernel_distances(x, y, num_subsets=3, subset_size=1000, seed=0)) == 3


def test_torch_and_numpy_features_agree() -> None:
    x, y = sets()
    assert kernel_distance(x, y) == kernel_distance(torch.from_numpy(x), torch.from_numpy(y))


def test_same_seed_same_value() -> None:
    x, y = sets(real=40, gen=40)
    assert kernel_distance(x, y, 5, 10, seed=1) == kernel_distance(x, y, 5, 10, seed=1)
    assert kernel_distance(x, y, 5, 10, seed=1) != kernel_distance(x, y, 5, 10, seed=2)


@pytest.mark.parametrize(
    ("real", "gen", "message"),
    [
        (
            np.zeros((4, 3)),
            np.zeros((4, 2)),
            "kernel_distance: real features are [4, 3] and generated [4, 2]; expected [N, F] and [M, F]. "
            "Both sides must come from the same extractor.",
        ),
        (
            np.zeros((4, 3)),
            np.zeros((1, 3)),
            "kernel_distance: 4 real and 1 generated samples; at least 2 of each are needed. "
            "Raise evaluate.num_images, or add images to the archive.",
        ),
        (
            np.zeros((4, 3)),
            np.full((4, 3), np.inf),
            "kernel_distance: features hold NaN or infinity; the images or the extractor's weights do. "
            "Check the generator with `python -m stylegan generate`.",
        ),
    ],
)
def test_unfit_features_are_refused(real: Array, gen: Array, message: str) -> None:
    with pytest.raises(MetricError) as caught:
        kernel_distance(real, gen)
    assert str(caught.value) == message


def test_empty_subsets_are_refused() -> None:
    with pytest.raises(MetricError) as caught:
        kernel_distance(*sets(), num_subsets=5, subset_size=1)
    assert str(caught.value) == (
        "kernel_distance: num_subsets=5 and subset_size=1; at least 1 subset of 2 samples is needed. "
        "Raise evaluate.kid_num_subsets or evaluate.kid_subset_size."
    )
