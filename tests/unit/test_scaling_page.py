"""The page of benchmarks/scaling.py: what it computes, and the model compared with published figures."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import scaling, scaling_page
from benchmarks.scaling_page import Measured, model_here, modelled, spread, with_batch
from pipelines.params import Params, load
from pipelines.plan.cost import published
from pipelines.plan.cost.scaling import all_reduce_sec

Make = Callable[..., Params]

MEASURED = Measured(
    plain={1: [4.0, 5.0, 4.0], 2: [2.5, 2.4, 2.6], 3: [3.0, 3.2, 3.1]},
    stage={1: [4.4, 4.4, 4.4], 2: [3.0, 3.0, 3.3]},
    start_sec={1: [9.0, 8.0, 9.5], 2: [10.0, 10.0, 10.0]},
    small_sec=0.001,
    large_sec=0.003,
    num_params=(1000, 2000),
)


@pytest.fixture(scope="module")
def params(make_params: Make) -> Params:
    return make_params("train.batch_size=48", "train.batch_gpu=8")


def cells(text: str, start: str) -> list[list[str]]:
    """The first table after `start`, without its header"""
    lines = [line for line in text[text.index(start) :].split("\n\n")[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_overhead_and_gain_are_of_medians() -> None:
    text = "\n".join(scaling_page._ray(MEASURED))
    assert cells(text, "## What Ray costs") == [
        ["1", "4.00 (4.00 to 5.00)", "4.40 (4.40 to 4.40)", "+10%", "9.00 (8.00 to 9.50)"],
        ["2", "2.50 (2.40 to 2.60)", "3.00 (3.00 to 3.30)", "+20%", "10.00 (10.00 to 10.00)"],
    ]
    assert "Two processes are 1.60 times as fast as one in the plain loop, 1.47 times in the stage." in text


def test_more_processes_than_cores_are_expected_to_lose(params: Params) -> None:
    two, three = (model_here(params, MEASURED, 2, workers) for workers in (2, 3))
    assert model_here(params, MEASURED, 2, 1).sec_per_kimg(1) == pytest.approx(4)
    assert two.sec_per_kimg(2) > 4 / 2
    assert three.sec_per_kimg(3) > 4 / 2  # two cores compute, whatever the number of processes
    assert model_here(params, MEASURED, 3, 3).sec_per_kimg(3) < three.sec_per_kimg(3)


def test_the_link_gives_back_the_all_reduces_that_it_was_measured_with(params: Params) -> None:
    link = model_here(params, MEASURED, 2, 2).network.within
    assert all_reduce_sec(0, 2, link) == pytest.approx(MEASURED.small_sec)
    assert all_reduce_sec(4 * 1000, 2, link) == pytest.approx(MEASURED.large_sec)


@pytest.mark.parametrize("device", published.SEC_PER_KIMG)
def test_the_model_is_within_six_per_cent_of_published_figures(params: Params, device: str) -> None:
    """V100 figures are the middle of ranges that are up to 11 % wide on each side"""
    for resolution, table in published.SEC_PER_KIMG[device].items():
        for gpus, (low, high) in table.items():
            batch = published.images_per_gpu(resolution, gpus) * gpus
            predicted = with_batch(modelled(params, device, resolution), batch).sec_per_kimg(gpus)
            assert predicted == pytest.approx((low + high) / 2, rel=0.06)


def test_the_page_has_every_table(params: Params) -> None:
    text = scaling_page.page(params, MEASURED)
    assert re.findall("^#+ (.*)", text, re.MULTILINE) == [
        "Scaling",
        "Measured here: 1, 2, 3 processes with one global batch",
        "What Ray costs, and what a second process gains",
        "The model compared with published figures",
        "The model up to 256 GPUs",
        "Assumptions",
    ]
    assert [row[0] for row in cells(text, "A100, 256 pixels:")] == [str(2**power) for power in range(9)]
    assert len(cells(text, "## The model compared")) == 8


def test_spread_is_median_and_range() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2.00 (1.00 to 3.00)"


def test_rounds_stop_before_the_limit_but_one_is_always_made(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def made(limit_sec: float) -> int:
        clock[0], count = 0.0, 0
        for _ in scaling.rounds(limit_sec):
            clock[0] += 60
            count += 1
        return count

    assert [made(limit) for limit in (10, 119, 120, 300)] == [1, 1, 2, 5]


def test_the_measured_batch_is_shared_evenly_by_every_number_of_processes(repository: Path) -> None:
    params = load(repository / "params.yaml", scaling.OVERRIDES)
    for workers in scaling.WORKERS:
        assert params.train.batch_size % (workers * params.train.batch_gpu) == 0
