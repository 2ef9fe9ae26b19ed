"""Parts of `python -m benchmarks.gpu` that no rehearsal shows to be wrong."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.gpu import bits, correctness, kernels, parity, peer, pictures, steps, timing
from benchmarks.gpu.job import Job, Options
from benchmarks.settings import TINY

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def flags_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a section prepares is for its whole process"""
    monkeypatch.setattr(kernels, "prepare", lambda device, choice: None)


def test_parity_notices_an_operation_that_is_off_by_a_thousandth(monkeypatch: pytest.MonkeyPatch) -> None:
    right = parity.activation(CPU)
    stock = parity.bias_act

    def off(*args: Tensor, **kwargs: float) -> Tensor:
        return stock(*args, **kwargs) * 1.001  # type: ignore[arg-type]

    monkeypatch.setattr(parity, "bias_act", off)
    assert right < parity.FILTERS < 1e-4 < parity.activation(CPU)


def test_parity_compares_shapes_and_relative_to_the_largest_value() -> None:
    assert parity.difference(torch.tensor([9.0, 1.0]), [10.0, 1.0]) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="shape"):
        parity.difference(torch.zeros(2), [0.0])


def test_bits_tell_equal_parts_from_different_ones() -> None:
    one = {"weights": torch.tensor([1.0, 4.0]), "p": torch.tensor([0.5])}
    other = {"weights": torch.tensor([1.0, 3.0]), "p": torch.tensor([0.5])}
    assert bits.compare(one, other) == {"weights": 0.25, "p": 0.0}
    assert bits.digests(one)["p"] == bits.digests(other)["p"]
    assert bits.digests(one)["weights"] != bits.digests(other)["weights"]


def test_a_resumed_training_is_compared_from_another_state() -> None:
    """If loading did nothing, the second half would start from fresh networks"""
    whole, resumed = (bits.train(TINY, 4, "fp32", CPU, resume) for resume in (False, True))
    assert set(bits.compare(whole, resumed).values()) == {0.0}
    assert all(len(values) for values in whole.values())


def test_what_is_measured_first_needs_neither_pillow_nor_safetensors(repository: Path) -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(('PIL', 'safetensors', 'yaml', 'ray', 'mlflow', 'scipy'));"
        "from benchmarks.gpu import correctness, kernels, steps"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("package", ["safetensors", None])
def test_steps_are_resumed_where_a_state_can_be_saved(
    package: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)
    monkeypatch.setattr(bits, "train", lambda *size: {"weights": torch.ones(1)})
    job = Job(Options("cpu", tiny=True), tmp_path / "results", 0.0)
    correctness.repeat(job, TINY, 4, "fp32")
    kinds = json.loads((tmp_path / "results").read_text().splitlines()[0])["value"]
    assert list(kinds) == (["twice", "resumed"] if package else ["twice"])


def test_cells_begin_with_the_most_telling_size_in_half_precision_and_stock_is_timed_at_256_pixels_only() -> None:
    found = list(steps.cells(tiny=False))
    assert (found[0].size, found[0].precision) == ("256/64", "bf16")
    assert {cell.size for cell in found} == {"64/64", "256/16", "256/64", "512/16", "1024/4"}
    assert {cell.precision for cell in found} == {"fp16", "bf16", "fp32"}
    first = found[0].choice
    assert {cell.resolution for cell in found if cell.choice != first} <= {256}
    assert len(set(found)) == len(found)


def test_a_row_that_fails_is_an_error_and_not_the_end() -> None:
    def broken(sizes: kernels.Sizes) -> kernels.Operation:
        raise RuntimeError("no kernel\nand more")

    sizes = kernels.Sizes(2, 4, 8, torch.float32, CPU)
    cell = kernels.row(broken, sizes, 1e9, "stock")
    assert kernels.text("stock", cell) == "stock failed: no kernel"


def test_a_row_is_compared_with_one_pass_over_its_inputs_and_its_output() -> None:
    def copied(sizes: kernels.Sizes) -> kernels.Operation:
        return torch.clone, (sizes.maps(),)

    sizes = kernels.Sizes(2, 4, 8, torch.float32, CPU)
    size, bandwidth = 2 * 2 * 4 * 8 * 8 * 4, 1e6
    cell = kernels.row(copied, sizes, bandwidth, "stock")
    assert float(cell["forward_ms"]) / float(cell["forward"]) == pytest.approx(1000 * size / bandwidth)
    assert float(cell["both_ms"]) / float(cell["both"]) == pytest.approx(2000 * size / bandwidth)


def test_a_median_of_times_ignores_one_slow_call() -> None:
    calls = iter([0, 0, 2 * 10**7, 0, 0, 0])

    def run() -> None:
        for _ in range(next(calls)):
            pass

    assert timing.milliseconds(run, CPU, repeats=5) < 50  # the slow one takes hundreds


def test_pictures_differ_and_are_the_same_again() -> None:
    tiles = [pictures.tile(number, 16) for number in (0, 1, 0)]
    assert (tiles[0] == tiles[2]).all()
    assert (tiles[0] != tiles[1]).any()
    assert tiles[0].shape == (16, 16, 3)


def test_reports_of_the_peer_are_read_while_it_writes(tmp_path: Path) -> None:
    run = tmp_path / "00000-tiles"
    run.mkdir()
    (run / "stats.jsonl").write_text('{"Timing/sec_per_kimg": {"mean": 9.5}}\n{"Timing/sec_per')
    (row,) = peer.reports(tmp_path)
    found = peer.summary(row)
    assert (found["sec_per_kimg"], found["peak_gb"], found["phases"]["Dreg"]) == (9.5, None, None)
    assert peer.text(64, found) == "official 256/64 fp16: 9.5 s/kimg, Gmain - Greg - Dmain - Dreg - ms, None GB"
