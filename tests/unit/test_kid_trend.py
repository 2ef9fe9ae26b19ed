"""The trend of KID over a training is claimed where there is one, also where neighbouring snapshots wander together."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.diagnosis.training_curves import Trend, kid_trend
from tests.tick_rows import ticks


def trend(logarithms: NDArray[np.float64]) -> Trend:
    """Of a run whose later half has these snapshots"""
    kids = np.concatenate((logarithms, logarithms))
    found = kid_trend(ticks([{"kimg": 10.0 * n, "monitor/kid": float(np.exp(kid))} for n, kid in enumerate(kids, 1)]))
    assert found is not None
    return found


def wandering(num: int, correlation: float, draw: np.random.Generator) -> NDArray[np.float64]:
    """Stationary, each value correlated with the one before it"""
    values = draw.standard_normal(num)
    for n in range(1, num):
        values[n] = correlation * values[n - 1] + (1 - correlation**2) ** 0.5 * values[n]
    return values


@pytest.mark.parametrize("num", [8, 20])
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_a_run_that_stands_still_seldom_falls_or_rises_beyond_doubt(num: int, correlation: float) -> None:
    draw = np.random.default_rng(0)
    found = [trend(0.1 * wandering(num, correlation, draw)) for _ in range(600)]
    assert np.mean([each.falls for each in found]) < 0.08
    assert np.mean([each.rises for each in found]) < 0.08


def test_a_slope_that_stands_out_of_the_noise_is_found() -> None:
    draw = np.random.default_rng(0)
    falling = -0.5 * np.log(np.arange(21, 41))
    found = [trend(falling + 0.1 * draw.standard_normal(20)) for _ in range(100)]
    assert np.mean([each.falls for each in found]) > 0.85
    assert np.mean([each.slope for each in found]) == pytest.approx(-0.5, abs=0.05)


def test_snapshots_that_lie_on_a_line_have_no_doubt() -> None:
    found = trend(-0.25 * np.log(np.arange(21, 41)))
    assert found.falls
    assert found.of_twice_the_length == pytest.approx(2**-0.25, rel=1e-6)
