"""The section of docs/performance.md on what was measured on a GPU."""

from collections.abc import Iterator, Sequence
from typing import Any

Report = dict[str, Any]


def gpu_section(report: Report | None, before: Report) -> Iterator[str]:
    """This version's numbers where a GPU has run it, and those of the commit that was measured before"""
    yield "## Measured on a GPU"
    if report is None:
        yield (
            "**No GPU has run this version.** Its speed and memory on a real card are unknown, and so is whether its "
            "kernels agree with stock torch there. To find out, run `.venv/bin/python -m benchmarks.gpu` on a GPU."
        )
    else:
        yield from _this_version(report)
    yield ""
    yield from _before(before)


def _before(before: Report) -> Iterator[str]:
    """The state that this version started from"""
    yield f"### Commit {before['commit']}, stock torch"
    machine = f"{before['machine'][0].upper()}{before['machine'][1:]}"
    yield f"{machine}; {before['settings']}. Dreg failed with that torch version and is missing."
    yield ""
    yield "| size, phase | ms | device busy, ms | convolutions alone, ms |"
    yield "|---|--:|--:|--:|"
    columns = [before[name] for name in ("phases_ms", "busy_ms", "convolutions_ms")]
    for size, phases in before["phases_ms"].items():
        for phase in phases | before["convolutions_ms"].get(size, {}):
            cells = [str(column.get(size, {}).get(phase, "")) for column in columns]
            yield f"| {size} {phase} | {' | '.join(cells)} |"
    yield ""
    yield "Single operations on a [32, 64, 256, 256] tensor in bf16. Reading and writing it once takes 0.18 ms:"
    yield ""
    yield "| operation | forward, ms | forward and backward, ms |"
    yield "|---|--:|--:|"
    for row in before["operations_ms"]:
        yield f"| {row['operation']} | {row['forward']} | {row['forward and backward']} |"


def _this_version(report: Report) -> Iterator[str]:
    machine = report["machine"]
    facts = ", ".join(f"{name} {value}" for name, value in machine.items() if value is not None)
    yield f"`.venv/bin/python -m benchmarks.gpu --seconds {report['seconds']:g}` on: {facts}."
    yield ""
    for name, section in report["sections"].items():
        if section["status"] != "done":
            yield f"- Section {name}: {section['status']}" + (f" ({section['reason']})" if section["reason"] else "")
    sections = {name: section["results"] for name, section in report["sections"].items()}
    for title, lines in (
        ("Steps", _steps(sections.get("steps", {}), sections.get("peer", {}))),
        ("Operations", _operations(sections.get("kernels", {}))),
        ("Correctness", _correctness(sections.get("correctness", {}))),
        ("Training", _training(sections.get("training", {}))),
    ):
        yield from ("", f"### {title}")
        yield from list(lines) or ["Not measured."]


def _steps(steps: Report, peer: Report) -> Iterator[str]:
    """Phases and speed of each size, precision and choice of kernels; the official code in lines of its own"""
    if not steps:
        return
    yield "Parentheses: the time divided by that of the phase's convolutions alone."
    yield ""
    yield "| size, precision, kernels | Gmain, ms | Greg | Dmain | Dreg | sec/kimg | convolutions alone | peak GB |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for size, precisions in steps.items():
        for precision, choices in precisions.items():
            for choice, cell in choices.items():
                yield f"| {size}, {precision}, {choice} | {' | '.join(_cells(cell))} |"
        if size in peer:
            yield f"| {size}, fp16, official code | {' | '.join(_peer_cells(peer[size]))} |"


def _cells(cell: Report) -> Sequence[str]:
    if "error" in cell:
        return [cell["error"], *[""] * 6]
    phases = [f"{row['ms']:.1f} ({row['ratio']:.1f})" for row in cell["phases"].values()]
    speeds = [f"{cell['sec_per_kimg']:.2f}", f"{cell['convolutions_sec_per_kimg']:.2f}", f"{cell['peak_gb']:.1f}"]
    return [*phases, *speeds]


def _peer_cells(found: Report) -> Sequence[str]:
    if "error" in found:
        return [found["error"], *[""] * 6]
    numbers = [*found["phases"].values(), found["sec_per_kimg"], None, found["peak_gb"]]
    return ["" if number is None else f"{number:.2f}" for number in numbers]


def _operations(kernels: Report) -> Iterator[str]:
    """Forward, forward and backward: ms, and times one pass over their tensors"""
    if "copy_gb_per_sec" not in kernels:
        return
    yield (
        f"A copy on the device moves {kernels['copy_gb_per_sec']:.0f} GB/s. Each cell has ms forward, then ms forward "
        "and backward. Parentheses divide these by the time of one pass over the tensors at that speed."
    )
    yield ""
    rows = {precision: found for precision, found in kernels.items() if isinstance(found, dict)}
    choices = list(dict.fromkeys(name for found in rows.values() for cells in found.values() for name in cells))
    yield f"| operation | {' | '.join(choices)} |"
    yield "|---" + "|--:" * len(choices) + "|"
    for precision, found in rows.items():
        for name, cells in found.items():
            yield f"| {name}, {precision} | {' | '.join(_operation(cells.get(choice)) for choice in choices)} |"


def _operation(cell: Report | None) -> str:
    if cell is None or "error" in cell:
        return "" if cell is None else str(cell["error"])
    return f"{cell['forward_ms']:.2f} ({cell['forward']:.1f}), {cell['both_ms']:.2f} ({cell['both']:.1f})"


def _correctness(found: Report) -> Iterator[str]:
    """Differences and bits"""
    if not found:
        return
    tests = found.get("tests", "not run")
    yield f"Tests marked `gpu`: {tests['summary'] if isinstance(tests, dict) else tests}."
    yield ""
    yield "| quantity | largest difference | allowed |"
    yield "|---|--:|--:|"
    for name, row in found.get("parity", {}).items():
        value = row["difference"]
        yield f"| {name} | {value if isinstance(value, str) else f'{value:.1e}'} | {row['limit']:g} |"
    for size, kinds in found.get("bits", {}).items():
        if not isinstance(kinds, dict):
            yield from ("", f"Twelve steps at {size} failed: {kinds}.")
            continue
        for kind, parts in kinds.items():
            unequal = [f"{name} ({value:.1e})" for name, value in parts.items() if value != 0]
            outcome = f"different {', '.join(unequal)}" if unequal else "all bits equal"
            yield from ("", f"Twelve steps at {size}, {kind}: {outcome}.")


def _training(found: Report) -> Iterator[str]:
    """KID before and after"""
    if "training" not in found:
        return
    row = found["training"]
    first, last = row["first"], row["last"]
    yield (
        f"{row['images']} images: {row['extractor']} KID {first['kid']:.3f} before, {last['kid']:.3f} after "
        f"{last['kimg']:.1f} kimg in {last['sec']:.0f} s."
    )
