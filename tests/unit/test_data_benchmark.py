"""benchmarks.data: the table of docs/data.md has a line for each way, and its images are as large as real ones."""

import io

import pytest

from benchmarks import data, performance_page
from benchmarks.performance_page import RESULTS


def test_a_quick_run_prints_a_line_for_each_way() -> None:
    lines: list[str] = []
    data.main(["--quick"], lines.append)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]
    assert all(len(row) == 6 for row in cells)
    ways = [row[1] for row in cells[2:]]
    assert ways[:4] == [
        "in memory", "shared file (pread)", "shared file through a mapping", "decoded ahead by 1 thread",
    ]  # fmt: skip
    assert ways[-1] == "decoded in the step"
    assert all(float(row[2].replace(",", "")) > 0 and float(row[3]) > 0 for row in cells[2:])


def test_an_h100_consumes_what_was_measured_at_256_pixels_and_less_of_larger_ones() -> None:
    counts, measured = (performance_page.read(RESULTS / f"{name}_d268daf.json") for name in ("work", "h100"))
    alone = performance_page.convolutions_ms(counts["256/64"], measured["convolutions_ms"]["256/64"])
    ms = sum(share * alone[phase] for phase, share in performance_page.PHASES.items())
    assert data.wanted_per_sec(256) == data.H100_AT_256 == pytest.approx(64 / ms * 1000, rel=1e-3)
    assert data.wanted_per_sec(256) > data.wanted_per_sec(512) > data.wanted_per_sec(1024)
    # Counted apart from this for a forward pass: 29.7 of G and 30.8 of D, without filters, which are 1 in 100.
    assert data.flops(256) / 1e9 == pytest.approx(60.5, rel=0.02)


def test_pictures_pack_as_photographs_do() -> None:
    """A PNG of a photograph has about half the bytes of its pixels, of flat colour a hundredth, of noise all."""
    buffer = io.BytesIO()
    data.picture(256, seed=0).save(buffer, "png")
    assert 0.3 < len(buffer.getvalue()) / (3 * 256**2) < 0.7
