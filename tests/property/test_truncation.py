"""Laws of the truncation trick."""

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from stylegan.networks import truncate

seeds = st.integers(0, 2**31)
psis = st.floats(-2, 2)
cutoffs = st.one_of(st.none(), st.integers(1, 6))
CLOSE: Any = {"rtol": 0.0, "atol": 1e-10}  # fp64


def draw(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((3, 6, 4), (4,))
    ws, w_avg = (torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes)
    return ws, w_avg


@given(seeds, cutoffs)
def test_psi_1_is_the_identity(seed: int, cutoff: int | None) -> None:
    ws, w_avg = draw(seed)
    assert torch.equal(truncate(ws, w_avg, 1, cutoff), ws)


@given(seeds)
def test_psi_0_gives_everyone_the_mean(seed: int) -> None:
    ws, w_avg = draw(seed)
    assert torch.equal(truncate(ws, w_avg, 0), w_avg.expand_as(ws))


@given(seeds, psis, psis)
def test_styles_are_linear_in_psi(seed: int, first: float, second: float) -> None:
    ws, w_avg = draw(seed)
    middle = truncate(ws, w_avg, (first + second) / 2)
    torch.testing.assert_close(middle, (truncate(ws, w_avg, first) + truncate(ws, w_avg, second)) / 2, **CLOSE)


@given(seeds, psis, psis)
def test_truncating_twice_multiplies(seed: int, first: float, second: float) -> None:
    ws, w_avg = draw(seed)
    twice = truncate(truncate(ws, w_avg, first), w_avg, second)
    torch.testing.assert_close(twice, truncate(ws, w_avg, first * second), **CLOSE)


@given(seeds, psis, st.integers(1, 6))
def test_cutoff_spares_the_later_layers(seed: int, psi: float, cutoff: int) -> None:
    ws, w_avg = draw(seed)
    out = truncate(ws, w_avg, psi, cutoff)
    assert torch.equal(out[:, cutoff:], ws[:, cutoff:])
    assert torch.equal(out[:, :cutoff], truncate(ws, w_avg, psi)[:, :cutoff])


@given(seeds, psis, cutoffs)
def test_styles_given_are_not_written_to(seed: int, psi: float, cutoff: int | None) -> None:
    ws, w_avg = draw(seed)
    before = ws.clone(), w_avg.clone()
    truncate(ws, w_avg, psi, cutoff)
    assert torch.equal(ws, before[0])
    assert torch.equal(w_avg, before[1])
