"""Laws of the order in which training draws images."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stylegan.data import InfiniteSampler

counts = st.integers(0, 100)
sizes = st.integers(1, 40)
seeds = st.integers(0, 2**31)


@given(sizes, seeds, st.integers(0, 5))
def test_every_epoch_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    assert sorted(InfiniteSampler(n, seed).take(epoch * n, n)) == list(range(n))


@given(sizes, seeds, counts, counts)
def test_starting_at_n_equals_starting_at_0_and_dropping_n(n: int, seed: int, dropped: int, count: int) -> None:
    straight = InfiniteSampler(n, seed).take(0, dropped + count)
    assert np.array_equal(InfiniteSampler(n, seed).take(dropped, count), straight[dropped:])


@given(sizes, seeds, st.lists(st.tuples(counts, counts), max_size=5), counts, counts)
def test_what_was_drawn_before_changes_nothing(
    n: int, seed: int, earlier: list[tuple[int, int]], position: int, count: int
) -> None:
    used = InfiniteSampler(n, seed)
    for start, length in earlier:
        used.take(start, length)
    assert np.array_equal(used.take(position, count), InfiniteSampler(n, seed).take(position, count))


@given(sizes, seeds, counts, st.integers(1, 4), st.integers(1, 8))
def test_ranks_partition_a_batch(n: int, seed: int, position: int, world_size: int, share: int) -> None:
    sampler = InfiniteSampler(n, seed)
    batch = sampler.take(position, world_size * share)
    shares = [sampler.take(position + rank * share, share) for rank in range(world_size)]
    assert np.array_equal(np.concatenate(shares), batch)


@given(st.integers(8, 40), seeds)
def test_epochs_and_seeds_differ(n: int, seed: int) -> None:
    # Two of 8! orders agree once in 40,320; a repeated order would fail for every input.
    orders = [InfiniteSampler(n, s).take(start, n).tolist() for s in (seed, seed + 1) for start in (0, n)]
    assert len({tuple(order) for order in orders}) >= 3
