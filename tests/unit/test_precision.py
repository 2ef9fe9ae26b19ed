"""What docs/precision.md says of the precisions, on a small network: bounds that its table keeps with room."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import precision
from benchmarks.precision import Deviation, deviations, table

SMALL = precision.CASES[0]
# Largest relative L2 deviation from fp64, as docs/precision.md gives them.
BOUNDS = {
    "images of G": {"fp32": 1e-5, "bf16": 0.02, "fp16": 0.002},
    "logits of D": {"fp32": 1e-5, "bf16": 0.02, "fp16": 0.002},
    "gradient of the loss in G": {"fp32": 1e-5, "bf16": 0.1, "fp16": 0.05},
    "gradient of the loss in D": {"fp32": 1e-5, "bf16": 0.1, "fp16": 0.05},
    "R1 penalty": {"fp32": 1e-5, "bf16": 0.1, "fp16": 0.05},
    "gradient of R1 in D": {"fp32": 1e-5, "bf16": 0.1, "fp16": 0.05},
    "path length penalty": {"fp32": 1e-5, "bf16": 0.1, "fp16": 0.05},
    "gradient of path length in G": {"fp32": 1e-5, "bf16": 0.1, "fp16": 0.05},
}


@pytest.fixture(scope="module")
def found() -> dict[tuple[str, str], Deviation]:
    return {(deviation.quantity, deviation.precision): deviation for deviation in deviations(SMALL)}


def test_every_quantity_is_measured_in_every_precision(found: dict[tuple[str, str], Deviation]) -> None:
    assert set(found) == {(quantity, name) for quantity, bounds in BOUNDS.items() for name in bounds}
    lines = list(table(SMALL, list(found.values())))
    assert lines[:2] == ["| 16 pixels | fp32 | bf16 | fp16 |", "|---|---|---|---|"]
    assert len(lines) == 2 + len(BOUNDS)


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("quantity", BOUNDS)
def test_deviation_from_double_precision_is_within_its_bound(
    quantity: str, name: str, found: dict[tuple[str, str], Deviation]
) -> None:
    assert 0 < found[quantity, name].l2 < BOUNDS[quantity][name]


def test_documented_bounds_are_these(repository: Path) -> None:
    text = (repository / "docs" / "precision.md").read_text()
    for quantity, bounds in BOUNDS.items():
        assert f"| {quantity} | {' | '.join(f'{bound:g}' for bound in bounds.values())} |" in text


def test_there_is_a_table_for_each_network(repository: Path) -> None:
    text = (repository / "docs" / "precision.md").read_text()
    for case in precision.CASES:
        assert f"| {case.name} | fp32 | bf16 | fp16 |" in text


def test_a_steeper_d_brings_the_gradients_of_g_into_the_range_of_fp16_and_leaves_bf16_alone() -> None:
    factors = (2.0**-13, 2.0**-7, 1.0)
    exact, half, brain = (precision.steep_gradients(SMALL, dtype, factors) for dtype in
                          (torch.float64, torch.float16, torch.bfloat16))  # fmt: skip
    lost, rounded = (
        [float((found - want).norm() / want.norm()) for found, want in zip(measured, exact, strict=True)]
        for measured in (half, brain)
    )
    assert lost[0] > 0.5 > 0.1 > lost[1] >= lost[2]  # all but nothing, some and none of it below 6e-8
    assert rounded == pytest.approx([rounded[0]] * 3, rel=1e-6)  # powers of 2 change no digit of a sum in float32


def test_documented_steepness_has_a_row_for_each_penalty(repository: Path) -> None:
    text = (repository / "docs" / "precision.md").read_text()
    for case in precision.CASES:
        if case.resolution >= precision.STEEP_FROM:
            head = f"| R1 penalty of D, {case.resolution} pixels, batch {case.batch_size} | bf16 | fp16 |"
            rows = text.partition(head)[2].split("\n\n")[0]
            assert all(f"| {penalty:.0e} |" in rows for penalty in precision.STEEPNESS if penalty > 2e-3)


def test_measuring_needs_no_launcher_store_or_tracker() -> None:
    code = "import sys, benchmarks.precision; sys.exit(any(m in sys.modules for m in ('ray', 'mlflow', 'dvc', 'yaml')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
