"""stylegan.stats: means of named values over a tick."""

import torch

from stylegan.stats import Stats

CPU = torch.device("cpu")


def test_every_element_counts_once() -> None:
    stats = Stats(CPU)
    stats.add("loss", torch.tensor([[1.0], [2.0], [3.0]]))
    stats.add("loss", torch.tensor(10.0))
    stats.add("other", torch.tensor([5.0]))
    assert stats.pop_means() == {"loss": 4.0, "other": 5.0}


def test_popping_starts_again() -> None:
    stats = Stats(CPU)
    stats.add("loss", torch.tensor([1.0]))
    stats.pop_means()
    assert stats.pop_means() == {}
    stats.add("loss", torch.tensor([2.0]))
    assert stats.pop_means() == {"loss": 2.0}


def test_sums_do_not_lose_small_values_among_many() -> None:
    stats = Stats(CPU)
    for _ in range(3):
        stats.add("loss", torch.full((1000,), 1e8))
    stats.add("loss", torch.tensor([1.0] * 1000))
    assert stats.pop_means()["loss"] == (3e11 + 1000) / 4000  # in fp32 the sum would swallow the thousand


def test_graphs_are_not_kept_alive() -> None:
    stats = Stats(CPU)
    stats.add("loss", torch.ones(2, requires_grad=True) * 2)
    assert all(not total.requires_grad for total in stats._sums.values())


def test_non_finite_values_stay_visible() -> None:
    stats = Stats(CPU)
    stats.add("loss", torch.tensor([1.0, torch.nan]))
    assert torch.tensor(stats.pop_means()["loss"]).isnan()
