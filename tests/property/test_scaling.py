"""Laws of the scaling model, whatever its numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.plan.cost.scaling import (
    Compute,
    Link,
    Model,
    Network,
    Reduction,
    Work,
    all_reduce_sec,
    counts,
    hours_for,
    kimg_in,
    most_workers,
    work,
)

positive = st.floats(1e-6, 1e6)
seconds = st.floats(0, 10)
powers = st.sampled_from([2**power for power in range(9)])
links = st.builds(Link, bytes_per_sec=st.floats(1e3, 1e12), latency_sec=st.floats(0, 1))
# Between nodes nothing is faster than within one.
networks = st.builds(
    lambda gpus, link, slower: Network(
        gpus, link, Link(link.bytes_per_sec / slower, link.latency_sec * slower)
    ),
    powers, links, st.floats(1, 1000),
)  # fmt: skip
computes = st.builds(Compute, sec_per_image=st.floats(1e-6, 10), fixed_sec=seconds, floor_sec=seconds)
works = st.builds(
    lambda g, d, w, share: work(
        batch_size=256 * 2, batch_gpu=share, g_bytes=g, d_bytes=d, w_bytes=w, g_reg_interval=4, d_reg_interval=16,
        ada_interval=4,
    ),
    positive, positive, positive, powers,
)  # fmt: skip
models = st.builds(Model, work=works, compute=computes, network=networks)
PERFECT = Link(math.inf, 0.0)
SLACK = 1 + 1e-9  # rounding


@given(models, powers)
def test_no_number_of_workers_is_faster_than_perfect_scaling(model: Model, workers: int) -> None:
    assert model.step_sec(workers) * workers * SLACK >= model.step_sec(1)
    assert model.efficiency(workers) <= SLACK
    assert model.efficiency(1) == 1


@given(models, st.integers(0, 7))
def test_efficiency_never_rises_with_twice_the_workers(model: Model, power: int) -> None:
    assert model.efficiency(2 ** (power + 1)) <= model.efficiency(2**power) * SLACK


@given(works, st.floats(1e-6, 10), powers)
def test_a_perfect_network_and_arithmetic_alone_scale_linearly(work: Work, sec: float, workers: int) -> None:
    model = Model(work, Compute(sec), Network(8, PERFECT, PERFECT))
    assert model.step_sec(workers) == pytest.approx(512 * sec / workers)
    assert model.efficiency(workers) == pytest.approx(1)


@given(works, computes, st.integers(0, 7))
def test_time_never_rises_with_twice_the_workers_of_a_perfect_network(work: Work, compute: Compute, power: int) -> None:
    model = Model(work, compute, Network(8, PERFECT, PERFECT))
    assert model.sec_per_kimg(2 ** (power + 1)) <= model.sec_per_kimg(2**power) * SLACK


@given(st.floats(1e-3, 1e6), positive)
def test_kimg_in_hours_is_the_inverse_of_hours_for_kimg(hours: float, speed: float) -> None:
    assert hours_for(kimg_in(hours, speed), speed) == pytest.approx(hours)


@given(positive, links)
def test_alone_there_is_nothing_to_reduce(num_bytes: float, link: Link) -> None:
    assert all_reduce_sec(num_bytes, 1, link) == 0


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 64))
def test_every_count_shares_the_batch_in_whole_groups(batch: int, share: int, asked: int) -> None:
    for count in counts(batch, share, asked):
        assert batch % count == 0
        assert (batch // count) % share == 0
        assert count <= most_workers(batch, share)


@given(st.floats(1e-3, 10), st.floats(1e-3, 10))
def test_compute_through_two_measurements_meets_the_larger_and_no_share_is_faster_per_image(
    few: float, many: float
) -> None:
    compute = Compute.through((4, few), (16, many))
    assert compute.sec(16) == pytest.approx(many)
    for images in range(1, 16):
        assert compute.sec(images) / images * SLACK >= many / 16
    if many / 16 <= few / 4 and few <= many:
        assert compute.sec(4) == pytest.approx(few)


def test_a_ring_sends_two_w_minus_one_messages_of_a_wth_of_the_bytes() -> None:
    # Four workers: 6 messages of 250 bytes at 1000 bytes a second, 0.5 s each until they arrive.
    assert all_reduce_sec(1000, 4, Link(1000, 0.5)) == pytest.approx(6 * 250 / 1000 + 6 * 0.5)


def test_the_step_adds_up() -> None:
    """8 images on 2 workers that take 2 at a time: 2 passes, and each reduction as often as its phase comes"""
    reductions = (Reduction(100, 1.25), Reduction(10, 2.25))
    model = Model(Work(8, 2, reductions), Compute(1.0, 0.5), Network(2, Link(100, 0), PERFECT))
    assert (model.work.passes(2), model.work.share(2)) == (2, 2)
    assert model.step_sec(2) == pytest.approx(2 * (2 * 1.0 + 0.5) + 1.25 * 1 + 2.25 * 0.1)
    assert model.sec_per_kimg(2) == pytest.approx(125 * model.step_sec(2))


def test_more_workers_than_a_node_has_wait_for_the_link_between_nodes() -> None:
    within, between = Link(2, 0), Link(1, 0)
    network = Network(8, within, between)
    assert [network.link(workers) for workers in (1, 8, 9)] == [within, within, between]
    assert [network.nodes(workers) for workers in (1, 8, 9, 256)] == [1, 1, 2, 32]


def test_phases_that_are_off_reduce_nothing() -> None:
    off = work(
        batch_size=8, batch_gpu=8, g_bytes=10, d_bytes=20, w_bytes=5, g_reg_interval=math.inf, d_reg_interval=math.inf,
        ada_interval=math.inf,
    )  # fmt: skip
    assert [(each.num_bytes, each.times) for each in off.reductions] == [(15, 1), (25, 1), (20, 0), (8, 0)]


def test_a_floor_is_what_a_step_takes_at_least() -> None:
    compute = Compute(1.0, floor_sec=10)
    assert [compute.sec(images) for images in (1, 10, 12)] == [10, 10, 12]
    assert compute.slowed(1.5).sec(1) == 15


def test_counts_are_powers_of_two_and_the_number_asked_for() -> None:
    assert counts(96, 4, 3) == [1, 2, 3, 4, 8]
    assert counts(4096, 4, 1)[-1] == 256
    assert most_workers(96, 4) == 24
