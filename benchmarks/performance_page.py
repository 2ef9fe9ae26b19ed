"""Writes docs/performance.md from the files in benchmarks/results/, or from those that are named.

    python -m benchmarks.performance_page [work.json] [gpu.json]

work.json is what `python -m benchmarks.work --json` prints and gpu.json what `python -m benchmarks.gpu` writes.
kernels.json is what `python -m benchmarks.compile_kernels --json --most 24` prints.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.performance_gpu import gpu_section

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs/performance.md"
BEFORE = "d268daf"  # the commit that was measured on a GPU before there were kernels
BYTES_PER_MS = 3.0  # gigabytes that an H100 moves
PHASES = {"Gmain": 1.0, "Greg": 1 / 4, "Dmain": 1.0, "Dreg": 1 / 16}  # and how often a step has them
Counts = dict[str, dict[str, dict[str, float]]]


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", nargs="?", type=Path, default=RESULTS / "work.json", help="default: %(default)s")
    parser.add_argument("gpu", nargs="?", type=Path, default=RESULTS / "gpu.json", help="default: %(default)s")
    given = parser.parse_args()
    PAGE.write_text(page(given.work, given.gpu), encoding="utf-8")


def page(work: Path = RESULTS / "work.json", gpu: Path = RESULTS / "gpu.json") -> str:
    """All sections"""
    now, before = read(work), read(RESULTS / f"work_{BEFORE}.json")
    measured = read(RESULTS / f"h100_{BEFORE}.json")
    sections = (
        head(),
        counted(before, now),
        predicted(before, now, measured),
        gpu_section(read(gpu), measured),
        compiled(read(RESULTS / "kernels.json")),
        rows_section("Loading images onto the device", loader_rows(read(gpu)), NO_LOADER),
    )
    return "\n".join(line for section in sections for line in [*section, ""])


NO_LOADER = (
    "Not measured on a GPU. [Data](data.md) has the speed of each way on a processor, compared with what an H100 would "
    "consume."
)


def read(path: Path) -> Any:
    """Content of a JSON file, None if there is none"""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def loader_rows(gpu: dict[str, Any] | None) -> list[dict[str, Any]] | None:
    """Of the machine with the GPU"""
    found = gpu["sections"].get("loader", {}).get("results", {}) if gpu else {}
    rows: list[dict[str, Any]] | None = list(found.values()) or None
    return rows


def head() -> Iterator[str]:
    yield "# Performance on a GPU"
    yield ""
    yield (
        "`.venv/bin/python -m benchmarks.performance_page` writes this page from the files in `benchmarks/results/`. "
        "Counts need no GPU and are exact. Predictions are arithmetic on these counts. Measurements name the card and "
        "the commit."
    )
    yield ""
    yield (
        "A step has four *phases*: Gmain trains G, Dmain trains D, Greg (path length) runs in every 4th step, and "
        "Dreg (R1) in every 16th. One *kimg* is 1,000 real images shown to D. Sizes are given as pixels/images per "
        "step. The [glossary](glossary.md) explains the other terms."
    )


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Lines of Markdown; the first column is text"""
    yield f"| {' | '.join(header)} |"
    yield "|---" + "|--:" * (len(header) - 1) + "|"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def counted(before: Counts, now: Counts) -> Iterator[str]:
    """Work of each phase at the commit that was measured, and of this version"""
    yield "## Work of a step, counted"
    yield (
        "`.venv/bin/python -m benchmarks.work` runs each phase on meta tensors. It counts every operation except "
        "views. The bytes are those of all tensors that an operation reads or writes, each once. The FLOPs are those "
        "of convolutions and matrix products. The settings are bf16 in the four highest resolutions, p 0.6 and all "
        "images in one forward pass, without the optimiser's step. At 256 pixels the preset is `paper256`, elsewhere "
        "`auto` for one GPU."
    )
    yield ""
    yield (
        "A call of this project's kernels counts as one operation. Inside it, clearing and adding up partial sums "
        "launches more: about 210 times in Greg, 100 to 130 times in the other phases at 256 pixels. They are not "
        "counted, nor are `select_backward` and `slice_backward` (at most 57 in a phase), which pass for views. "
        "Together they move less than 0.5 GB in any phase."
    )
    yield ""
    yield (
        "The last column is the time on a device that moves 3 TB/s and computes 700 TFLOP/s, taking the longer of the "
        "two for each operation. The time to launch operations is not included. "
        f"Each cell shows commit {BEFORE} -> this version, or one number if they agree."
    )
    yield ""
    rows = []
    for size, phases in now.items():
        for phase, row in phases.items():
            old = before[size][phase]
            cells = [
                _change(old["operations"], row["operations"], ",.0f"),
                _change(old["gigabytes"], row["gigabytes"], ".1f"),
                _change(old["teraflops"], row["teraflops"], ".2f"),
                _change(old["milliseconds"], row["milliseconds"], ".1f"),
            ]
            rows.append((f"{size} {phase}", *cells))
    yield from table(("size, phase", "operations", "GB", "TFLOP", "ms"), rows)


def _change(old: float, new: float, form: str) -> str:
    """ "1,648 -> 790", or one number where nothing changed"""
    first, second = f"{old:{form}}", f"{new:{form}}"
    return first if first == second else f"{first} -> {second}"


def predicted(before: Counts, now: Counts, measured: dict[str, Any]) -> Iterator[str]:
    """Bytes at the bandwidth, plus what the convolutions alone took on the card"""
    size = "256/64"
    yield "## Predicted time for 256 pixels and 64 images per step"
    yield (
        "The prediction adds two times: moving the bytes at 3 TB/s, and the convolutions alone. The convolutions of "
        f"Gmain and Dmain were measured on {measured['machine']}. Those of Greg and Dreg are computed from their FLOPs "
        "at the same rate."
    )
    yield ""
    alone = convolutions_ms(before[size], measured["convolutions_ms"][size])
    rows, totals = [], [0.0, 0.0]
    for phase, share in PHASES.items():
        times = [counts[size][phase]["gigabytes"] / BYTES_PER_MS for counts in (before, now)]
        sums = [each + alone[phase] for each in times]
        totals = [total + share * each for total, each in zip(totals, sums, strict=True)]
        cells = [_change(old, new, ".1f") for old, new in (times, sums)]
        rows.append((phase, f"{alone[phase]:.1f}", *cells, measured["phases_ms"][size].get(phase, "")))
    header = ("phase", "convolutions, ms", "bytes, ms", "sum, ms", f"measured with {BEFORE}, ms")
    yield from table(header, rows)
    yield ""
    speeds = _change(totals[0] / 64, totals[1] / 64, ".2f")
    yield (
        f"With the regularisers spread over the steps: {speeds} sec/kimg. The convolutions alone would take "
        f"{sum(share * alone[phase] for phase, share in PHASES.items()) / 64:.2f} sec/kimg."
    )
    yield ""
    yield (
        "The sum is right if every operation moves its bytes at the speed of memory, and if the processor launches "
        "operations fast enough. The bytes of convolutions are counted in both terms. "
        f"Commit {BEFORE} took several times the sum, because its 4x4 filters ran as depthwise convolutions at a small "
        "fraction of the bandwidth (see below)."
    )


def convolutions_ms(counts: dict[str, dict[str, float]], known: dict[str, float]) -> dict[str, float]:
    """Of every phase: what was measured, or its FLOPs at the rate of those that were"""
    rate = sum(counts[phase]["teraflops"] for phase in known) / sum(known.values())
    return {phase: known.get(phase, counts[phase]["teraflops"] / rate) for phase in PHASES}


ISSUE = (("instructions_per_element", ".0f"), ("issue_over_memory", ".2f"))  # None of kernels with several loops


def compiled(found: dict[str, Any]) -> Iterator[str]:
    """Machine code of the kernels that move most bytes"""
    yield f"## Kernels compiled for sm_{found['arch']}"
    yield (
        f"`.venv/bin/python -m benchmarks.compile_kernels` with Triton {found['triton']} compiles the kernels of a "
        "step at 256 pixels and 64 images. *GB* is the sum over the four phases. *Warps* "
        "is how many are resident, of the 64 that an H100's multiprocessor can hold. *Bits* are those of the widest "
        "load and store. The last column divides the time to issue the instructions by the time that memory takes at "
        "3 TB/s. Above 1, computation limits the kernel; below 1, memory does. The table lists the variants that move "
        "the most bytes, and the largest of every other kernel."
    )
    yield ""
    yield (
        "On a machine with a GPU, Triton compiles a kernel when it is first used, and keeps it in `~/.triton`. The "
        "trial at the first start needs 52 variants, which took about half a minute of one core to compile for sm_90. "
        "To start a kernel, Triton also builds a small program with a C compiler, which needs Python's headers: "
        "`apt install gcc python3-dev`. Without them, training uses torch's operations and says so. "
        "`.venv/bin/stylegan doctor` tries every kernel."
    )
    yield ""
    header = (
        "kernel", "GB", "launches", "registers", "spills", "warps", "bits", "instructions per element",
        "issue / memory",
    )  # fmt: skip
    rows = [
        (
            f"{row['kernel']} {row['type']}: {row['does']}", f"{row['gigabytes']:.2f}", row["launches"],
            row["registers"], row["spills"], row["resident_warps"], f"{row['load_bits']}/{row['store_bits']}",
            *("" if row[name] is None else f"{row[name]:{form}}" for name, form in ISSUE),
        )
        for row in found["rows"]
    ]  # fmt: skip
    yield from table(header, rows)


def rows_section(title: str, rows: Sequence[dict[str, Any]] | None, absent: str) -> Iterator[str]:
    """A table of any rows, their keys above it"""
    yield f"## {title}"
    if not rows:
        yield absent
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    yield from table(columns, [[_cell(row.get(name, "")) for name in columns] for row in rows])


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
