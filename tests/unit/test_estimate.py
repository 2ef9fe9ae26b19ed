"""`plan --hours`: the table, the sentences, and what is refused."""

import io
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.params import Params
from pipelines.plan import __main__ as plan
from pipelines.plan.cost import estimate, memory, published
from pipelines.plan.cost.memory import Memory
from pipelines.plan.cost.timing import seconds_per_step
from stylegan.console import make_console
from tests.command_lines import run_or_exit

PAPER256 = ["--preset", "paper256", "--gpus", "8"]
Run = Callable[..., str]


@pytest.fixture
def run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """run(arguments...) -> what it prints, on one line each"""

    def run(*arguments: str) -> str:
        text = io.StringIO()
        monkeypatch.setattr(plan, "make_console", lambda **_: make_console(file=text, width=1000))
        run_or_exit(plan.main, *arguments, "--base", str(repository / "params.yaml"))
        return text.getvalue()

    return run


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters and activations of paper256 as given, instead of counted in a second for each share"""
    monkeypatch.setattr(memory, "memory", lambda params, channels, n: Memory(24767458, 24001089, {"Gmain": n * 2**28}))


def rows(text: str) -> list[list[str]]:
    """Cells of the estimate's table"""
    lines = text[text.index("images each") :].splitlines()[2:]
    return [line.replace(" x ", "x").split() for line in lines[: lines.index(next(x for x in lines if not x.strip()))]]


@pytest.mark.usefixtures("counted")
def test_hours_cost_and_kimg_of_a_preset_on_each_number_of_gpus(run: Run) -> None:
    text = run(*PAPER256, "--hours", "24", "--price", "2.5", "--reference", "a100")
    found = rows(text)
    assert [row[:3] for row in found] == [["1", "1", "4x16"], ["2", "1", "2x16"], ["4", "1", "16"], ["8", "1", "8"]]
    for gpus, _, _, _, speed, efficiency, hours, cost, kimg in found:
        assert float(hours) == pytest.approx(25000 * float(speed) / 3600, abs=0.06)  # of the digits shown
        assert float(cost) == pytest.approx(float(hours) * int(gpus) * 2.5, rel=0.005)
        assert float(kimg) == pytest.approx(24 * 3600 / float(speed), rel=0.003)
        assert float(efficiency[:-1]) == pytest.approx(100 * 12.53 / float(speed) / int(gpus), abs=0.6)
    assert float(found[0][4]) == 12.53
    assert float(found[3][4]) == pytest.approx(2.38, rel=0.02)  # as published for 8


def test_sentences_of_a_plan_that_fits(run: Run) -> None:
    text = run(*PAPER256, "--hours", "24", "--price", "2.5", "--reference", "a100")
    assert "25000 kimg take 16.7 hours on 8 GPU(s) and cost 334.55; 24 hours are enough.\n" in text
    assert (
        "More than 8 GPUs cannot share a batch of 64: each needs 8 image(s) (discriminator.mbstd_group_size, "
        "loss.pl_batch_shrink). More need a larger train.batch_size, which is another training.\n"
    ) in text
    assert (
        "Step time: published by the authors of the official implementation for A100, in mixed precision with the "
        "official CUDA kernels; this project's speed on that GPU is unknown.\n"
    ) in text
    assert (
        "All-reduces: rings that wait for their slowest link, 230 GB/s and 3.4 us a message in a node of 8 GPUs, 12.5 "
        "GB/s and 14 us between nodes, without overlap. Reading data, snapshots and Ray are not in it.\n"
    ) in text
    assert "GB of activations in Gmain of 8 image(s); libraries and fragmentation come on top.\n" in text


@pytest.mark.usefixtures("counted")
def test_own_measurements_say_what_they_are_of(run: Run) -> None:
    text = run(*PAPER256, "--hours", "1", "--reference", "h100")
    own = published.MEASURED["h100"][256]
    assert float(rows(text)[0][4]) == pytest.approx(own.sec_per_kimg, abs=0.006)  # of the digits shown
    assert (
        f"Step time: measured by this project on one H100 in steps of {own.batch} images ({own.what}), taken to be the "
        "same for any share of the batch.\n"
    ) in text


@pytest.mark.usefixtures("counted")
def test_hours_that_are_too_few_say_how_far_they_reach_and_nothing_has_a_price(run: Run) -> None:
    text = run(*PAPER256, "--hours", "1", "--sec-per-kimg", "36")
    assert "25000 kimg take 31.4 hours on 8 GPU(s); 1 hours are enough for 795.\n" in text
    assert "Step time: 36 sec/kimg of one GPU as given, the same for any share of the batch.\n" in text
    assert rows(text)[0][4:] == ["36.00", "100%", "250.0", "100"]


@pytest.mark.usefixtures("counted")
def test_a_slower_network_costs_time_between_nodes_only(run: Run) -> None:
    wide = ["--preset", "auto", "--resolution", "256", "--gpus", "16", "--hours", "1", "--sec-per-kimg", "10"]
    usual, slow = rows(run(*wide)), rows(run(*wide, "--node-gb-per-sec", "1"))
    assert [row[0] for row in usual] == ["1", "2", "4", "8", "16"]
    assert usual[:4] == slow[:4]
    assert float(slow[4][4]) > float(usual[4][4])
    small_nodes = rows(run(*wide, "--gpus-per-node", "4", "--node-latency-us", "1000"))
    assert [row[1] for row in small_nodes] == ["1", "1", "1", "2", "4"]
    assert float(small_nodes[3][4]) > float(usual[3][4])


@pytest.mark.usefixtures("counted")
def test_an_estimate_writes_nothing(run: Run, repository: Path) -> None:
    before = (repository / "params.yaml").read_bytes()
    run(*PAPER256, "--hours", "1", "--sec-per-kimg", "36")
    assert (repository / "params.yaml").read_bytes() == before


REFUSED = {
    "no source": (
        [],
        "--hours needs the time of a step. Add --measure to time one on this machine, --reference v100 or a100 for the "
        "official implementation's figures, h100 for this project's, or --sec-per-kimg with one GPU's.",
    ),
    "resolution": (
        ["--reference", "v100", "--resolution", "64"],
        "--reference v100: figures are published for 128, 256, 512, 1024 pixels, not for 64. Time a step with "
        "--measure on such a machine, or give one GPU's figure with --sec-per-kimg.",
    ),
    "resolution that was not measured": (
        ["--reference", "h100", "--resolution", "128"],
        "--reference h100: this project was measured there at 256 pixels, not at 128. Time a step with --measure on "
        "such a machine, or give one GPU's figure with --sec-per-kimg.",
    ),
    "not square": (
        ["--reference", "v100", "--resolution", "192x256"],
        "--reference v100: figures are of squares, not of [192, 256] pixels. Use --measure or --sec-per-kimg.",
    ),
    "networks": (
        ["--reference", "a100", "generator.channel_base=1024"],
        "--reference a100: figures at 256 pixels are of channel_base 16384, and generator.channel_base is 1024. Use "
        "--measure or --sec-per-kimg.",
    ),
    "node": (
        ["--sec-per-kimg", "1", "--gpus-per-node", "0"],
        "--gpus-per-node is 0; expected 1 or more.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_estimated_is_refused_with_the_remedy(name: str, run: Run) -> None:
    arguments, message = REFUSED[name]
    with pytest.raises(SystemExit) as caught:
        run(*PAPER256, "--hours", "1", *arguments)
    assert caught.value.code == message


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "many"])
def test_numbers_have_to_be_above_zero(text: str, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(*PAPER256, f"--hours={text}", "--sec-per-kimg", "1")
    assert f"argument --hours: '{text}' is not a number above 0" in capsys.readouterr().err


def test_two_sources_are_refused(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(*PAPER256, "--hours", "1", "--sec-per-kimg", "1", "--measure")
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_measurement_times_the_smallest_and_the_largest_share(
    make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of 2 and 32 images, which take real time elsewhere: here 1 s and 16 ms an image"""
    timed: list[int] = []

    def fake(config: Params, img_channels: int, periods: int) -> list[float]:
        assert (config.train.batch_gpu, img_channels) == (config.train.batch_size, 3)
        timed.append(config.train.batch_size)
        return [1 + 0.016 * config.train.batch_size]

    monkeypatch.setattr("pipelines.plan.cost.timing.seconds_per_step", fake)
    compute, sentence = estimate.measured(make_params(), 3)
    assert timed == [2, 32]
    assert (compute.sec_per_image, compute.fixed_sec) == pytest.approx((0.016, 1))
    assert sentence.endswith(", one process: 1032 ms for 2 images and 1512 ms for 32 images.")


def test_a_step_is_really_timed(make_params: Callable[..., Params]) -> None:
    params = make_params("train.batch_gpu=2", "train.batch_size=2", "loss.d_reg_interval=8")
    times = seconds_per_step(params, 3, periods=2)
    assert len(times) == 2
    assert all(0 < sec < 60 for sec in times)


def test_work_leaves_out_what_is_off(make_params: Callable[..., Params]) -> None:
    on = estimate.work_of(make_params(), 1, 1)
    off = estimate.work_of(make_params("loss.pl_weight=0", "loss.r1_gamma=0.0", "augment.mode=none"), 1, 1)
    assert [each.times for each in on.reductions] == [1 + 1 / 8, 1, 1 / 16, 1 / 4]
    assert [each.times for each in off.reductions] == [1, 1, 0, 0]
    other = ("augment.mode=ada_rv", "loss.d_regularizer=gp", "loss.r1_gamma=0.0")
    assert estimate.work_of(make_params(*other), 1, 1) == on
    assert estimate.work_of(make_params(*other, "loss.gp_weight=0.0"), 1, 1).reductions[2].times == 0


@pytest.mark.parametrize("device", published.SEC_PER_KIMG)
def test_published_compute_gives_the_published_time_of_one_gpu_and_of_the_smallest_share(device: str) -> None:
    for resolution, table in published.SEC_PER_KIMG[device].items():
        compute = published.compute(device, resolution)
        assert 1000 * compute.sec_per_image == pytest.approx(math.fsum(table[1]) / 2)
        gpus, share = max(table), published.images_per_gpu(resolution, max(table))
        if share < published.images_per_gpu(resolution, 1):
            assert compute.sec(share) == pytest.approx(math.fsum(table[gpus]) / 2000 * share * gpus)
    assert published.compute(device, 1024).floor_sec == published.compute(device, 256).floor_sec > 0
