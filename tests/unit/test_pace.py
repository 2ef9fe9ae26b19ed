"""Intervals of a plan, in minutes of the machine; its arithmetic against torch's count; the pictures of a snapshot."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pipelines.drawing.samples import num_columns, num_samples
from pipelines.params import Params, load
from pipelines.plan import resolve
from pipelines.plan.cost.arithmetic import flops_per_image, forward_flops
from pipelines.plan.cost.speed import CARD_FLOPS, convolution_rate
from pipelines.plan.pace import MOST_SNAPSHOTS, minutes, pace_choices
from stylegan.networks import Discriminator, Generator


def planned(repository: Path, preset: str, resolution: int | None, gpus: int = 1) -> Params:
    return resolve.checked(resolve.resolve(preset, resolution, gpus, load(repository / "params.yaml")))


@pytest.mark.parametrize("sec_per_kimg", [0.02, 0.5, 2.2, 14.0, 160.0, 4000.0])
@pytest.mark.parametrize("total_kimg", [160.0, 5000.0, 25000.0])
def test_a_tick_takes_at_most_a_minute_and_a_snapshot_comes_after_ten_at_the_least(
    sec_per_kimg: float, total_kimg: float
) -> None:
    batch = 32
    choices = pace_choices(total_kimg, batch, sec_per_kimg, snapshot_sec=5.0)
    tick, ticks = choices["train.tick_kimg"].value, choices["train.snapshot_ticks"].value
    assert tick * 1000 >= batch  # a step at least
    assert tick * sec_per_kimg <= 60 or tick * 1000 <= 2.5 * batch  # the next size after a step
    length = total_kimg * sec_per_kimg
    interval = ticks * tick * sec_per_kimg
    assert interval >= 0.7 * min(600, length)  # whole ticks
    assert interval <= 1.5 * max(600, min(length / MOST_SNAPSHOTS, 4 * 3600))
    assert length / interval <= 1.5 * MOST_SNAPSHOTS or interval > 3 * 3600


def test_measuring_snapshots_takes_a_twentieth_of_the_time_at_most() -> None:
    choices = pace_choices(1000, 32, 60, snapshot_sec=120)
    assert choices["train.tick_kimg"].value * choices["train.snapshot_ticks"].value * 60 >= 20 * 120


def test_a_v100_at_256_pixels_shows_its_second_pictures_within_the_hour() -> None:
    choices = pace_choices(25000, 16, 22.9, snapshot_sec=10)
    assert choices["train.tick_kimg"].value * choices["train.snapshot_ticks"].value * 22.9 < 3600


def test_reasons_say_minutes() -> None:
    choices = pace_choices(25000, 64, 14.0, snapshot_sec=5)
    assert choices["train.tick_kimg"].origin == "about 28 s at 14 sec/kimg"
    assert choices["train.snapshot_ticks"].origin == "images every 29 min, 202 in all"


@pytest.mark.parametrize(
    ("sec", "text"),
    [(0.5, "0.5 s"), (59, "59 s"), (90, "1.5 min"), (2460, "41 min"), (7200, "2 h"), (100_000, "28 h"),
     (350_000, "4.1 days"), (2e7, "231 days"), (1e9, "32 years")],
)  # fmt: skip
def test_times_are_said_in_one_unit(sec: float, text: str) -> None:
    assert minutes(sec) == text


# 10%: torch also counts the mapping network, filters of resampling, layers to and from colours and the dense layers.
@pytest.mark.parametrize(("preset", "resolution"), [("auto", 32), ("auto", 64), ("paper256", None)])
def test_the_arithmetic_of_a_plan_is_what_torch_counts(repository: Path, preset: str, resolution: int | None) -> None:
    params = planned(repository, preset, resolution)
    n, size = params.discriminator.mbstd_group_size, params.prepare.resolution
    assert isinstance(size, int)
    with torch.device("meta"), torch.no_grad():
        G = Generator(params.generator, img_resolution=size, img_channels=3, c_dim=0)
        D = Discriminator(params.discriminator, img_resolution=size, img_channels=3, c_dim=0)
        with FlopCounterMode(display=False) as of_g:
            img = G(torch.empty(n, G.z_dim), torch.empty(n, 0))
        with FlopCounterMode(display=False) as of_d:
            D(img, torch.empty(n, 0))
    assert forward_flops(params) == pytest.approx((of_g.get_total_flops() / n, of_d.get_total_flops() / n), rel=0.1)


def test_the_measured_card_trained_the_networks_of_paper256(repository: Path) -> None:
    assert flops_per_image(planned(repository, "paper256", None)) == pytest.approx(CARD_FLOPS, rel=0.001)


def test_regularisers_that_are_off_cost_nothing(make_params: Callable[..., Params]) -> None:
    G, D = forward_flops(make_params())
    off = make_params("loss.pl_weight=0", "loss.r1_gamma=0.0")
    assert flops_per_image(off) == 4 * G + 8 * D
    assert flops_per_image(make_params()) > flops_per_image(off)


def test_a_convolution_is_really_timed_and_threads_stay_as_they_were() -> None:
    before = torch.get_num_threads()
    assert 1e7 < convolution_rate(1) < 1e14
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("resolution", "count"), [(32, 64), (256, 64), (512, 36), (1024, 9), (4096, 1)])
def test_the_pictures_of_a_snapshot_fill_a_grid_of_3072_pixels_at_most(resolution: int, count: int) -> None:
    assert num_samples(resolution) == num_samples((resolution // 2, resolution)) == count
    assert num_columns(resolution) * resolution <= max(3072, resolution)
