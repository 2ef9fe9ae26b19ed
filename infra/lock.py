"""Write infra/locks anew: the sha256 of every published file of the versions in constraints.txt.

    .venv/bin/python infra/lock.py

Needs `uv` on the PATH. Run it after every change of constraints.txt, of the dependencies in pyproject.toml, or of
infra/locks/*.in. Builds of torch without CUDA are on an index of their own, which names their sums;
torch-cpu.sums holds them, and is edited by hand.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "infra/locks"
FIRST = re.compile(r"(torch|setuptools)$")
CUDA = re.compile(r"(cuda|nvidia)-|triton$")

Entries = dict[str, str]  # by name: the whole entry of a requirements file


def compiled(source: Path, *options: str) -> Entries:
    """Every package that a source needs on any platform, with the sums of all its files"""
    with tempfile.NamedTemporaryFile(suffix=".txt") as out:
        subprocess.run(
            ["uv", "pip", "compile", str(source), "-c", str(ROOT / "constraints.txt"), "--universal", "--no-config",
             "--python-version=3.11", "--generate-hashes", "--no-annotate", "--no-header", "--no-emit-index-url",
             "--quiet", "--output-file", out.name, *options],
            check=True,
        )  # fmt: skip
        text = Path(out.name).read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    return {entry.partition("==")[0].partition("[")[0]: entry for entry in entries}


def write(name: str, entries: Entries) -> None:
    (LOCKS / f"{name}.txt").write_text("".join(entries[key] for key in sorted(entries)))


def cpu_builds(torch: str) -> str:
    """An entry of the builds of torch that PyPI does not have. Exits if their sums are of another version."""
    wanted = torch.split()[0].partition("==")[2]
    sums = [line.split() for line in (LOCKS / "torch-cpu.sums").read_text().splitlines() if not line.startswith("#")]
    if any(f"-{wanted}+cpu-" not in file for _, file in sums):
        sys.exit(f"infra/lock.py: torch-cpu.sums is not of torch {wanted}. Copy the sums from torch's CPU index.")
    return " \\\n".join([f"torch=={wanted}+cpu", *(f"    --hash=sha256:{digest}" for digest, _ in sums)]) + "\n"


def main() -> None:
    """Lists that never overlap, but for triton: CUDA's torch brings it, and tests need it without CUDA."""
    project = ROOT / "pyproject.toml"
    run = compiled(project)
    first = {name: entry for name, entry in run.items() if FIRST.match(name)}
    cuda = {name: entry for name, entry in run.items() if CUDA.match(name)}
    write("torch", first)
    write("torch-cpu", first | {"torch": cpu_builds(first["torch"])})
    write("cuda", cuda)
    write("run", {name: entry for name, entry in run.items() if name not in first | cuda})
    for extra in tomllib.loads(project.read_text())["project"]["optional-dependencies"]:
        entries = compiled(project, f"--extra={extra}")
        write(extra, {name: entry for name, entry in entries.items() if name == "triton" or name not in run})
    for source in sorted(LOCKS.glob("*.in")):
        write(source.stem, compiled(source))


if __name__ == "__main__":
    main()
