"""Install what the project needs into the environment of this interpreter; every file is compared with its sha256.

    .venv/bin/python infra/install.py [--extra NAME]... [--packages-only] [--torch-index URL]

`make`, infra/ray/setup.sh and the images use it. Versions are those of constraints.txt, sums those of infra/locks.
Only the standard library and pip are imported: nothing else is installed yet.
"""

import argparse
import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "infra/locks"
EXTRAS = ("dev", "export", "heif", "hub", "s3", "serve", "sweep")


PIP = (sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet")


def pip(*arguments: str) -> None:
    """Run pip of this interpreter. Raises CalledProcessError."""
    subprocess.run([*PIP, *arguments], check=True)


def is_installed(*names: str) -> bool:
    """Whether this environment has every package of the lists that this machine needs, in its version"""
    lines = [line for name in names for line in (LOCKS / f"{name}.txt").read_text().splitlines() if line[:1].isalnum()]
    for requirement in (Requirement(line.rstrip(" \\")) for line in lines):
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            found = version(requirement.name).partition("+")[0]  # +cpu and +cu130 are one version
        except PackageNotFoundError:
            return False
        if not requirement.specifier.contains(found, prereleases=True):
            return False
    return True


def hashed(*names: str) -> list[str]:
    """pip's arguments for lists of infra/locks; what has to be built is built by the setuptools that is locked"""
    files = [argument for name in names for argument in ("--requirement", str(LOCKS / f"{name}.txt"))]
    return ["--require-hashes", "--no-build-isolation", *files]


def install(*, extras: list[str], project: bool, torch_index: str | None) -> None:
    """torch first, and of no other package: its build decides whether the libraries of CUDA are needed."""
    index = ["--extra-index-url", torch_index] if torch_index else []
    if not is_installed("torch"):
        pip("--no-deps", *index, *hashed("torch-cpu" if offers_cpu_build(index) else "torch"))
    lists = [*(["run"] if version("torch").endswith("+cpu") else ["run", "cuda"]), *extras]
    if not is_installed(*lists):  # pip takes long to find that there is nothing to do, and `ray up` asks it every time
        pip(*hashed(*lists))
    if project:
        pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def offers_cpu_build(index: list[str]) -> bool:
    """Whether pip, as it is configured here, would take a build of torch without CUDA; with sums it prefers PyPI's"""
    lines = (LOCKS / "torch.txt").read_text().splitlines()
    wanted = next(line.rstrip(" \\") for line in lines if line.startswith("torch=="))
    command = [*PIP, "--dry-run", "--ignore-installed", "--no-deps", "--report", "-", *index, wanted]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    (found,) = json.loads(done.stdout)["install"]
    return str(found["metadata"]["version"]).endswith("+cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description="Install what the project needs, in locked versions.")
    parser.add_argument("--extra", action="append", default=[], choices=EXTRAS, help="an optional part of the project")
    parser.add_argument("--packages-only", action="store_true", help="leave out the project itself")
    parser.add_argument(
        "--torch-index", metavar="URL", help="a further index for torch alone, such as that of CPU builds"
    )
    options = parser.parse_args()
    try:
        install(extras=options.extra, project=not options.packages_only, torch_index=options.torch_index)
    except subprocess.CalledProcessError as error:
        sys.exit(f"infra/install.py: pip ended with status {error.returncode}; its message is above.")


if __name__ == "__main__":
    main()
