"""docs/performance.md: the committed page is what its generator writes, and what it computes."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import performance_page
from benchmarks.gpu.steps import D_INTERVAL, G_INTERVAL, lazy
from benchmarks.performance_gpu import gpu_section
from benchmarks.performance_page import PHASES, RESULTS, convolutions_ms, page, predicted, read, rows_section
from benchmarks.settings import config
from pipelines.plan.cost import published

MEASURED = read(RESULTS / "h100_d268daf.json")
COUNTS = {
    "256/64": {
        phase: {"operations": 10.0, "gigabytes": 30.0, "teraflops": 7.0, "milliseconds": 1.0} for phase in PHASES
    }
}


def cells(lines: list[str], start: str) -> list[str]:
    """Of the first row of a table that begins so"""
    return [
        cell.strip() for cell in next(line for line in lines if line.startswith(f"| {start}")).strip("|").split("|")
    ]


def test_the_committed_page_is_what_the_generator_writes(repository: Path) -> None:
    """Otherwise run `python -m benchmarks.performance_page`."""
    assert (repository / "docs/performance.md").read_text() == page()


def test_every_count_is_on_the_page_beside_what_it_was_before(repository: Path) -> None:
    rows = [line for line in page().splitlines() if line.startswith(("| 64/", "| 256/", "| 1024/"))]
    assert sum(line.count("|") == 6 for line in rows) == 16
    before = read(RESULTS / "work_d268daf.json")["256/64"]
    assert (before["Gmain"]["operations"], round(before["Gmain"]["gigabytes"])) == (1648, 179)  # counted independently


def test_a_prediction_is_bytes_at_the_bandwidth_and_the_convolutions() -> None:
    lines = list(predicted(COUNTS, COUNTS, MEASURED))
    assert cells(lines, "Gmain") == ["Gmain", "26.6", "10.0", "36.6", "355"]  # 30 GB at 3 TB/s
    assert cells(lines, "Dmain") == ["Dmain", "38.1", "10.0", "48.1", "462"]
    greg = (26.6 + 38.1) / 2  # as many FLOPs as either
    assert cells(lines, "Greg") == ["Greg", f"{greg:.1f}", "10.0", f"{greg + 10:.1f}", "327"]
    total = 36.6 + 48.1 + (greg + 10) * (1 / 4 + 1 / 16)
    assert any(f"over the steps: {total / 64:.2f} sec/kimg" in line for line in lines)
    assert convolutions_ms(COUNTS["256/64"], {"Gmain": 2.0})["Dreg"] == 2.0


def test_a_change_shows_both_numbers() -> None:
    less = {"256/64": {phase: row | {"gigabytes": 15.0} for phase, row in COUNTS["256/64"].items()}}
    assert cells(list(predicted(COUNTS, less, MEASURED)), "Gmain")[2:4] == ["10.0 -> 5.0", "36.6 -> 31.6"]


def test_without_a_report_the_page_says_that_no_gpu_has_run_this_version() -> None:
    lines = list(gpu_section(None, MEASURED))
    assert lines[1].startswith("**No GPU has run this version.**")
    assert cells(lines, "256/64 Gmain") == ["256/64 Gmain", "355", "", "26.6"]
    assert cells(lines, "256/16 Dmain") == ["256/16 Dmain", "", "", "16.0"]


def report() -> dict[str, Any]:
    """Some of everything that gpu.json can hold"""
    row = {"ms": 50.0, "ratio": 2.0, "convolutions_ms": 25.0, "peak_gb": 9.0}
    cell = {
        "phases": dict.fromkeys(PHASES, row), "sec_per_kimg": 2.5, "convolutions_sec_per_kimg": 1.25, "peak_gb": 9.0,
    }  # fmt: skip
    operation = {"forward_ms": 0.2, "forward": 1.1, "both_ms": 0.5, "both": 1.3}
    results: dict[str, Any] = {
        "steps": {"256/64": {"fp16": {"auto": cell, "stock": {"error": "out of memory"}}}},
        "peer": {"256/64": {"sec_per_kimg": 8.0, "phases": dict.fromkeys(PHASES, 9.0), "peak_gb": None}},
        "kernels": {"copy_gb_per_sec": 2500.0, "float16": {"fir_up": {"auto": operation, "stock": operation}}},
        "correctness": {
            "parity": {"warp": {"difference": 1e-6, "limit": 1e-4}, "R1": {"difference": "no", "limit": 1e-4}},
            "bits": {"64/16 fp16": {"twice": {"weights": 0.0, "p": 1e-3}}},
            "tests": {"summary": "70 passed", "failed": []},
        },
        "loader": {"256, in memory": {"resolution": 256, "way": "in memory", "per_sec": 12345.6}},
    }
    sections = {name: {"status": "done", "reason": None, "results": found} for name, found in results.items()}
    sections["training"] = {"status": "timeout", "reason": "too slow", "results": {}}
    return {"seconds": 480.0, "machine": {"card": "H100", "triton": None}, "sections": sections}


def test_a_report_fills_every_table(tmp_path: Path) -> None:
    lines = list(gpu_section(report(), MEASURED))
    assert "- Section training: timeout (too slow)" in lines
    assert cells(lines, "256/64, fp16, auto")[1:] == [*["50.0 (2.0)"] * 4, "2.50", "1.25", "9.0"]
    assert cells(lines, "256/64, fp16, stock")[1] == "out of memory"
    assert cells(lines, "256/64, fp16, official code")[1:] == ["9.00"] * 4 + ["8.00", "", ""]
    assert cells(lines, "fir_up, float16")[1:] == ["0.20 (1.1), 0.50 (1.3)"] * 2
    assert cells(lines, "warp")[1:] == ["1.0e-06", "0.0001"]
    assert "Twelve steps at 64/16 fp16, twice: different p (1.0e-03)." in lines
    assert "No GPU has run" not in "\n".join(lines)
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(report()))
    assert "| 256 | in memory | 1.235e+04 |" in page(gpu=path)


def test_rows_of_any_keys_become_a_table() -> None:
    rows = [{"kernel": "upfirdn2d", "registers": 64}, {"kernel": "epilogue", "spills": 0}]
    assert list(rows_section("Kernels", rows, "none"))[1:] == [
        "| kernel | registers | spills |", "|---|--:|--:|", "| upfirdn2d | 64 |  |", "| epilogue |  | 0 |",
    ]  # fmt: skip
    assert list(rows_section("Kernels", None, "none")) == ["## Kernels", "none"]


def test_the_schedule_of_the_page_and_of_the_call_is_that_of_the_settings() -> None:
    loss = config(256, 64, "fp16").loss
    assert (loss.g_reg_interval, loss.d_reg_interval) == (G_INTERVAL, D_INTERVAL)
    assert PHASES == {"Gmain": 1, "Greg": 1 / G_INTERVAL, "Dmain": 1, "Dreg": 1 / D_INTERVAL}
    assert lazy({phase: {"ms": 16.0} for phase in PHASES}, "ms") == 16 + 4 + 16 + 1


def test_what_plan_says_of_an_h100_is_what_was_measured_there() -> None:
    own, gpu = published.MEASURED["h100"][256], read(RESULTS / "gpu.json")
    if gpu is None:
        phases = MEASURED["phases_ms"][f"256/{own.batch}"]
        expected = sum(PHASES[phase] * ms for phase, ms in phases.items()) / own.batch
    else:
        expected = gpu["sections"]["steps"]["results"][f"256/{own.batch}"]["bf16"]["auto"]["sec_per_kimg"]
    assert own.has_kernels == (gpu is not None)  # of which plan speaks
    assert own.sec_per_kimg == pytest.approx(expected, abs=0.005)  # two digits are kept


def test_the_generator_writes_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(performance_page, "PAGE", tmp_path / "page.md")
    (tmp_path / "gpu.json").write_text(json.dumps(report()))
    monkeypatch.setattr("sys.argv", ["page", str(RESULTS / "work.json"), str(tmp_path / "gpu.json")])
    performance_page.main()
    assert (tmp_path / "page.md").read_text() == page(gpu=tmp_path / "gpu.json")
