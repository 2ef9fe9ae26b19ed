"""Machine code of the kernels that move most bytes, compiled for an H100 that need not be there: spills, wide loads."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

triton = pytest.importorskip("triton")

LARGEST = 3
PTXAS = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"


@pytest.fixture(scope="module")
def rows(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The LARGEST variants of a step, and one of every other kernel, in a process of its own: others interpret them"""
    try:
        subprocess.run([PTXAS, "--version"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"Triton's ptxas does not run here: {error}")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    command = [sys.executable, "-m", "benchmarks.compile_kernels", "--json", "--most", str(LARGEST)]
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return found


@pytest.mark.slow
def test_no_register_is_spilled(rows: list[dict[str, Any]]) -> None:
    assert {row["kernel"] for row in rows[:LARGEST]} >= {"upfirdn2d", "scale_bias_act_backward"}
    assert {row["spills"] for row in rows} == {0}


@pytest.mark.slow
def test_every_kernel_is_compiled(rows: list[dict[str, Any]]) -> None:
    from stylegan.ops.kernels import pointwise, resampling, weights

    names = {name for module in (pointwise, resampling, weights) for name in vars(module) if name.endswith("_kernel")}
    assert {f"{row['kernel']}_kernel" for row in rows} == names


@pytest.mark.slow
def test_half_precision_is_loaded_and_stored_by_128_bits_a_thread(rows: list[dict[str, Any]]) -> None:
    assert {row["type"] for row in rows[:LARGEST]} == {"fp16"}
    assert {bits for row in rows[:LARGEST] for bits in (row["load_bits"], row["store_bits"])} == {128}


@pytest.mark.slow
def test_kernels_wait_for_memory_and_not_for_instructions(rows: list[dict[str, Any]]) -> None:
    assert max(row["issue_over_memory"] for row in rows[:LARGEST]) < 1
