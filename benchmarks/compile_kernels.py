"""Compiles the Triton kernels of a training step for a GPU that need not be there, and reads their machine code.

    python -m benchmarks.compile_kernels [--json] [--precision fp16] [--most 30] [--resolution 256] [--batch 64]

Registers of a thread, spills (instructions that move registers to memory and back), shared bytes of a program, warps
that an H100's multiprocessor holds of 64, bits of the widest load and store, instructions for each element of the
result, and the time to issue them relative to the time that memory takes at 3 TB/s: above 1 the kernel computes, below
it waits for memory. Loops count as often as they run. The variants that move most bytes come first, then the largest of
every kernel that is not among them.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from benchmarks.launches import Use, Variant, launches_of_step

TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
BYTES_PER_SEC = 3e12  # of an H100's memory
LANES_PER_SEC = 132 * 4 * 32 * 1.755e9  # multiprocessors, their schedulers, threads of a warp, clock
REGISTERS, SHARED, WARPS = 65536, 227 * 1024, 64  # of a multiprocessor
MEMORY = re.compile(r"\b(LDG|STG)\.E(?:\.\w+)*?(?:\.(U8|S8|U16|S16|64|128))?(?:\.\w+)* ")
IMAGES = ("kept", "out", "grad", "grad_weight", "styles", "scaled")  # of several, the first one says the precision
BLOCKS = ("BLOCK_O", "BLOCK_X", "BLOCK_P", "BLOCK_I", "BLOCK_C")


@dataclass(frozen=True)
class Code:
    """Machine code of one variant."""

    registers: int
    spills: int
    shared: int  # bytes
    warps: int
    load_bits: int
    store_bits: int
    instructions: int
    in_loop: int | None  # None with several loops


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    kernel: str
    type: str
    does: str
    gigabytes: float
    launches: int
    registers: int
    spills: int
    shared: int
    resident_warps: int
    load_bits: int
    store_bits: int
    instructions_per_element: float | None
    issue_over_memory: float | None


def compiled(variant: Variant, arch: int) -> Code:
    """Machine code for compute capability arch"""
    place = {param.name: (index,) for index, param in enumerate(variant.kernel.params)}
    source = ASTSource(
        variant.kernel,
        dict(variant.types),
        {place[name]: value for name, value in variant.constants},
        {place[name]: [["tt.divisibility", 16]] for name in variant.aligned},
    )
    made = triton.compile(source, target=GPUTarget("cuda", arch, 32))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(made.asm["cubin"])
        use, text = _run("cuobjdump", "-res-usage", str(file)), _run("nvdisasm", "-c", str(file))
    instructions, loops = _read(text)
    widths = {"LDG": [0], "STG": [0]}
    for found in MEMORY.finditer("\n".join(instructions)):
        widths[found[1]].append(int((found[2] or "32").lstrip("US")))
    return Code(
        registers=int(re.findall(r"REG:(\d+)", use)[0]),
        spills=sum(re.search(r"\b(LDL|STL)\b", each) is not None for each in instructions),
        shared=made.metadata.shared, warps=made.metadata.num_warps,
        load_bits=max(widths["LDG"]), store_bits=max(widths["STG"]),
        instructions=len(instructions),
        in_loop=None if len(loops) > 1 else sum(last + 1 - first for first, last in loops),
    )  # fmt: skip


def _run(tool: str, *args: str) -> str:
    return subprocess.run([TOOLS / tool, *args], capture_output=True, text=True, check=True).stdout


def _read(text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """Instructions without the padding behind them, and first and last of each loop"""
    instructions: list[str] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(instructions)
        elif found := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            instructions.append(found[1])
    while instructions and "NOP" in instructions[-1]:
        instructions.pop()
    jumps = [(re.search(r"BRA.*`\((\.L_x_\d+)\)", each), last) for last, each in enumerate(instructions)]
    return instructions, [(labels[to[1]], last) for to, last in jumps if to and labels[to[1]] < last]


def row(variant: Variant, use: Use, arch: int) -> Row:
    """Compile one variant, and relate its code to what it does in a step"""
    code = compiled(variant, arch)
    per_element = issue = None
    if code.in_loop is not None:
        executed = (code.instructions - code.in_loop) * use.programs + code.in_loop * use.steps
        per_element = executed * 32 * code.warps / use.elements
        issue = (executed * 32 * code.warps / LANES_PER_SEC) / (use.bytes / BYTES_PER_SEC)
    return Row(
        kernel=variant.kernel.__name__.removesuffix("_kernel"), type=dict(variant.types)[_main(variant)][1:],
        does=_does(variant), gigabytes=use.bytes / 1e9, launches=use.launches, registers=code.registers,
        spills=code.spills, shared=code.shared, resident_warps=_resident_warps(code), load_bits=code.load_bits,
        store_bits=code.store_bits, instructions_per_element=per_element, issue_over_memory=issue,
    )  # fmt: skip


def _main(variant: Variant) -> str:
    """Its argument that holds images, or a weight in the convolution's precision"""
    names = dict(variant.types)
    return next(name for name in IMAGES if "*" in names.get(name, ""))


def _does(variant: Variant) -> str:
    """Filter, factors and tile, and the optional arguments and settings that are there"""
    constants = dict(variant.constants)
    words = []
    if "TAPS_Y" in constants:
        words.append("{TAPS_Y}x{TAPS_X}, up {UP_Y}x{UP_X}, down {DOWN_Y}x{DOWN_X}".format(**constants))
    types = dict(variant.types)
    words += [name for name in ("other", "scale", "noise", "bias") if "*" in types.get(name, "")]
    words += [name.lower().replace("_", " ") for name, value in constants.items() if value is True and name != "FLIP"]
    words += ["lrelu"] if constants.get("SLOPE", 1) != 1 else []
    tile = [str(constants[name]) for name in BLOCKS if name in constants]
    return ", ".join([*words, f"tile {'x'.join(tile)}"])


def _resident_warps(code: Code) -> int:
    """Of a multiprocessor, by registers and shared memory"""
    of_warp = -(-code.registers * 32 // 256) * 256
    by_registers, by_shared = REGISTERS // (of_warp * code.warps), SHARED // (code.shared + 1024)
    return min(by_registers, by_shared, WARPS // code.warps) * code.warps


def rows(resolution: int, batch: int, precision: str, most: int, arch: int) -> Iterator[Row]:
    """The variants that move most bytes, in that order, then the largest of every other kernel"""
    uses = launches_of_step(resolution, batch, precision)
    chosen = sorted(uses, key=lambda each: -uses[each].bytes)
    chosen, others = chosen[:most], chosen[most:]
    for variant in others:
        if variant.kernel not in {each.kernel for each in chosen}:
            chosen.append(variant)
    for variant in chosen:
        yield row(variant, uses[variant], arch)


def line(found: Row) -> str:
    """For people"""
    each = "-" if found.instructions_per_element is None else f"{found.instructions_per_element:.0f}"
    issue = "-" if found.issue_over_memory is None else f"{found.issue_over_memory:.2f}"
    return (
        f"{found.gigabytes:6.2f} {found.launches:4} {found.registers:4} {found.spills:6} {found.shared:6} "
        f"{found.resident_warps:5} {found.load_bits:4} {found.store_bits:5} {each:>6} {issue:>6}  "
        f"{found.kernel} {found.type}: {found.does}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--precision", choices=("bf16", "fp16", "fp32"), default="fp16", help="default: fp16")
    parser.add_argument("--resolution", type=int, default=256, help="default: 256")
    parser.add_argument("--batch", type=int, default=64, help="default: 64")
    parser.add_argument("--most", type=int, default=30, help="variants to compile; default: 30")
    parser.add_argument("--arch", type=int, default=90, help="compute capability times ten; default: 90, an H100's")
    given = parser.parse_args(argv)
    if os.environ.get("TRITON_INTERPRET") == "1":
        sys.exit("TRITON_INTERPRET is 1, which interprets kernels; expected to compile them. Unset it.")
    found = rows(given.resolution, given.batch, given.precision, given.most, given.arch)
    if given.json:
        print(json.dumps({"triton": triton.__version__, "arch": given.arch, "rows": [asdict(each) for each in found]}))
        return
    print("    GB uses regs spills shared warps load store instr. issue/memory")
    for each in found:
        print(line(each), flush=True)


if __name__ == "__main__":
    main()
