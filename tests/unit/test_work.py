"""Counting what a step asks of a GPU: the definition, upper limits that guard the speed, and the settings counted."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks import settings, work
from benchmarks.counting import convolutions, count
from stylegan.ops import setup_filter, upfirdn2d

BYTES_PER_SEC, FLOPS_PER_SEC = 3e12, 700e12  # the defaults of benchmarks.work

# size -> phase -> most operations and gigabytes in bf16. Whoever lowers a count lowers its limit.
LIMITS = {
    "64/64": {"Gmain": (490, 16), "Greg": (795, 12), "Dmain": (530, 19), "Dreg": (365, 18)},
    "256/16": {"Gmain": (700, 21), "Greg": (1160, 14), "Dmain": (675, 24), "Dreg": (460, 24)},
    "256/64": {"Gmain": (700, 80), "Greg": (1160, 53), "Dmain": (690, 89), "Dreg": (460, 94)},
    "1024/4": {"Gmain": (795, 43), "Greg": (1400, 29), "Dmain": (810, 50), "Dreg": (550, 52)},
}


@pytest.fixture(scope="module")
def counts() -> work.Counts:
    """Of this version"""
    return work.counts("bf16", BYTES_PER_SEC, FLOPS_PER_SEC)


@pytest.mark.slow
@pytest.mark.parametrize("size", LIMITS)
def test_no_phase_has_more_operations_or_bytes_than_its_limit(size: str, counts: work.Counts) -> None:
    assert list(counts) == list(LIMITS)
    for phase, (operations, gigabytes) in LIMITS[size].items():
        found = counts[size][phase]
        assert found["operations"] <= operations, phase
        assert found["gigabytes"] <= gigabytes, phase


@pytest.mark.slow
def test_committed_counts_are_those_of_this_version(counts: work.Counts, repository: Path) -> None:
    """Otherwise run `python -m benchmarks.work --json > benchmarks/results/work.json` and the page's generator."""
    committed = json.loads((repository / "benchmarks/results/work.json").read_text())
    for size, phases in counts.items():
        for phase, found in phases.items():
            assert committed[size][phase] == pytest.approx(found, rel=1e-12)  # sums of floats


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta", requires_grad=dtype.is_floating_point)


def test_an_operation_reads_its_inputs_and_writes_its_outputs_once() -> None:
    x, y = meta(2, 3), meta(3, dtype=torch.float16)
    (found,) = count(lambda: x + y).operations
    assert (found.name, found.bytes, found.flops) == ("add.Tensor", 24 + 6 + 24, 0)


def test_views_and_the_processors_own_tensors_do_not_count() -> None:
    x = meta(4, 6)
    assert count(lambda: (x.view(24), x.t(), x[1:], x[None].expand(3, 4, 6), torch.ones(9) + 1)).operations == []


def test_products_of_convolutions_and_of_their_gradients_are_counted() -> None:
    x, weight, matrix = meta(2, 3, 8, 8), meta(5, 3, 3, 3), meta(7, 4)
    (forward,) = count(lambda: F.conv2d(x, weight, padding=1)).operations
    products = 2 * 5 * 8 * 8 * 3 * 3 * 3
    assert forward.flops == 2 * products
    both = count(lambda: F.conv2d(x, weight, padding=1).sum().backward()).operations
    backward = next(each for each in both if each.name.startswith("convolution_backward"))
    assert backward.flops == 2 * 2 * products  # of the image and of the weight
    (product,) = count(lambda: matrix.detach() @ meta(4, 9).detach()).operations
    assert product.flops == 2 * 7 * 4 * 9


def test_an_operation_takes_the_longer_of_moving_its_bytes_and_computing() -> None:
    x, weight = meta(2, 3, 8, 8), meta(5, 3, 3, 3)
    counted = count(lambda: F.conv2d(x, weight, padding=1) + 1)
    (conv, add) = counted.operations
    fast, slow = 1e30, 1e6
    assert counted.summary(fast, slow)["milliseconds"] == pytest.approx(1e3 * conv.flops / slow)
    assert counted.summary(slow, fast)["milliseconds"] == pytest.approx(1e3 * (conv.bytes + add.bytes) / slow)
    assert counted.summary(slow, slow)["operations"] == 2


def test_convolutions_are_recorded_with_their_gradients_and_without_filters_that_resample() -> None:
    x, weight, f = meta(2, 3, 8, 8), meta(5, 3, 3, 3), setup_filter([1.0, 3.0, 3.0, 1.0]).to("meta")

    def twice_and_filtered() -> None:
        for _ in range(2):
            out = upfirdn2d(F.conv2d(x, weight), f, padding=1)
            (grad,) = torch.autograd.grad(out.sum(), x, create_graph=True)
            grad.square().sum().backward()

    found = convolutions(twice_and_filtered)
    assert sum(found.values()) % 2 == 0
    assert {call.func for call in found} == {"convolution", "convolution_backward"}
    assert {call.rest[-2 if call.func == "convolution_backward" else -1] for call in found} == {1}  # groups
    forward = ((2, 3, 8, 8), torch.float32), ((5, 3, 3, 3), torch.float32), None  # image, weight, no bias
    # Twice each: the layer itself, and the gradient along the gradient, which is the layer again.
    assert [times for call, times in found.items() if call.tensors == forward] == [4]


@pytest.mark.parametrize("resolution", settings.PRESETS)
def test_settings_are_what_the_plan_writes(resolution: int) -> None:
    """Otherwise run `python -m benchmarks.settings`."""
    committed, planned = json.loads(settings.FILE.read_text())[str(resolution)], settings.planned(resolution)
    for section in settings.DECIDED:
        assert committed[section] == planned[section], section


def test_sizes_differ_from_the_plan_in_batch_and_precision_alone() -> None:
    config = settings.config(256, 64, "fp16")
    assert (config.train.batch_size, config.train.batch_gpu, config.train.precision) == (64, 64, "fp16")
    assert (config.generator.conv_clamp, config.discriminator.conv_clamp) == (256, 256)
    assert settings.config(256, 64, "bf16").generator.conv_clamp is None
    planned = settings.planned(256)
    assert config.loss.model_dump(mode="json") == planned["loss"]
    changed = {"batch_size", "batch_gpu", "precision", "kernels"}
    assert config.train.model_dump(mode="json", exclude=changed) == {
        name: value for name, value in planned["train"].items() if name not in changed
    }


def test_the_json_is_by_size_and_phase_and_the_table_has_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(work, "SIZES", ((settings.TINY, 4),))
    monkeypatch.setattr("sys.argv", ["work", "--json", "--peak-bandwidth", "1", "--rate", "1e9"])
    work.main()
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["16/4"]
    assert list(found["16/4"]) == ["Gmain", "Greg", "Dmain", "Dreg"]
    row = found["16/4"]["Gmain"]
    assert list(row) == ["operations", "gigabytes", "teraflops", "milliseconds"]
    assert row["milliseconds"] == pytest.approx(row["gigabytes"])  # at 1 TB/s, and computing costs nothing
    monkeypatch.setattr("sys.argv", ["work"])
    work.main()
    assert f"{row['operations']:,}" in capsys.readouterr().out.splitlines()[1]
