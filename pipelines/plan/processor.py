"""What the processor at hand can compute with, as far as a plan depends on it."""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # flags of Intel and AMD, and the feature of ARM


def has_bf16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the processor has instructions that multiply bf16; where nothing says so, it has none"""
    if not cpuinfo.exists():
        return False
    return any(BF16 & set(line.partition(":")[2].split()) for line in cpuinfo.read_text().splitlines())
