"""What docs/precision.md says of the precisions, on a small network: bounds that its table keeps with room."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import precision
from benchmarks.precision import Deviation, deviations, table

SMALL = precision.CASES[0]
# Largest relative L2 deviation from fp64, as docs/precision.md gives them.
BOUNDS = {
    "images of G": {"fp32": 1e-5, "bf16": 0.02, "fp16": 0.002},
    "logits of D": {"fp32": 1e-5, "bf16": 0.02, "fp16": 0.002},
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


def test_the_table_holds_a_row_for_each_quantity_of_both_networks(repository: Path) -> None:
    text = (repository / "docs" / "precision.md").read_text()
    for case in precision.CASES:
        assert f"| {case.name} | fp32 | bf16 | fp16 |" in text


def test_measuring_needs_no_launcher_store_or_tracker() -> None:
    code = "import sys, benchmarks.precision; sys.exit(any(m in sys.modules for m in ('ray', 'mlflow', 'dvc', 'yaml')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
