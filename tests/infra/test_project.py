"""The project's own files agree with each other, and nothing in them belongs to one machine."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def pyproject(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def constraints(repository: Path) -> list[str]:
    lines = (repository / "constraints.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_direct_dependency_is_pinned_to_the_version_of_the_constraints(
    pyproject: dict[str, Any], constraints: list[str]
) -> None:
    locked = {normal(name): version for name, version in (line.split("==") for line in constraints)}
    project = pyproject["project"]
    for requirement in [*project["dependencies"], *chain(*project["optional-dependencies"].values())]:
        name, version = re.sub(r"\[.*\]", "", requirement).split("==")
        assert locked[normal(name)] == version, requirement


def test_constraints_are_public_versions_and_no_path_or_address(constraints: list[str]) -> None:
    for line in constraints:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line), line


def test_every_direct_dependency_has_its_reason_beside_it(repository: Path) -> None:
    lines = (repository / "pyproject.toml").read_text().splitlines()
    pinned = [line for line in lines if re.match(r'    ".*==', line)]
    assert pinned
    assert all("# " in line for line in pinned)


IMPORTED_AS = {"pillow": "PIL", "pyyaml": "yaml", "dvc": None}  # dvc is a command


def test_every_runtime_dependency_is_imported(pyproject: dict[str, Any], repository: Path) -> None:
    sources = [file for package in ("stylegan", "pipelines") for file in (repository / package).rglob("*.py")]
    text = "\n".join(file.read_text() for file in sources)
    for requirement in pyproject["project"]["dependencies"]:
        name = re.split(r"\[|==", requirement)[0]
        module = IMPORTED_AS.get(name, name.replace("-", "_"))
        assert module is None or re.search(rf"^\s*(import|from) {re.escape(module)}\b", text, re.MULTILINE), requirement


def test_nothing_is_compiled_by_torch(repository: Path) -> None:
    """torch.compile of a function that calls autograd gives wrong gradients in silence where it meets a custom
    autograd.Function, of which the operations are made: that of R1 was missing in 12 of 17 parameters (torch 2.13)."""
    for package in ("stylegan", "pipelines"):
        for file in (repository / package).rglob("*.py"):
            found = [name for node in ast.walk(ast.parse(file.read_text())) for name in compiles(node)]
            assert found == [], file


def compiles(node: ast.AST) -> list[str]:
    """Where a syntax node calls or names torch's compiler"""
    if isinstance(node, ast.Attribute) and node.attr == "compile" and ast.unparse(node.value) != "re":
        return [ast.unparse(node)]  # torch.compile, or compile() of a module
    if isinstance(node, ast.ImportFrom) and node.module == "torch":
        return [alias.name for alias in node.names if alias.name == "compile"]
    return []


@pytest.mark.parametrize(
    "line", ["@torch.compile\ndef f(): ...", "G = torch.compile(G)", "from torch import compile as c", "G.compile()"]
)
def test_the_check_sees_every_way_to_compile(line: str) -> None:
    assert [name for node in ast.walk(ast.parse(line)) for name in compiles(node)]


def test_warnings_are_errors(pyproject: dict[str, Any]) -> None:
    assert pyproject["tool"]["pytest"]["ini_options"]["filterwarnings"][0] == "error"


def test_imports_point_one_way() -> None:
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


def test_continuous_integration_runs_the_readmes_test_command_and_nothing_else(repository: Path) -> None:
    script = repository / ".ci/run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["exec make test"]
    workflow = (repository / ".github/workflows/ci.yml").read_text()
    assert re.findall(r"run: (.*)", workflow) == ["bash .ci/run"]


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "-C", str(folder), *arguments], check=False, capture_output=True, text=True)


def test_make_alone_lists_every_command(repository: Path) -> None:
    listed = re.findall(r"^  make ([\w-]+) +\S", make(repository).stdout, re.MULTILINE)
    commands = ["help", "repro", "sweep", "ablate", "stop", "test", "lint", "ui", "bench", "weights-standard",
                "fetch-report", "clean"]  # fmt: skip
    assert listed == commands


@pytest.mark.parametrize(
    ("script", "found"),
    [('[ "$1" = --version ] && echo Python 3.9.1', "Python 3.9.1"), (None, "not there")],
    ids=["old", "absent"],
)
def test_an_unfit_python_is_named_with_the_remedy(
    repository: Path, tmp_path: Path, script: str | None, found: str
) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(repository / name, tmp_path / name)
    python = tmp_path / "python"
    if script is not None:
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
    result = make(tmp_path, "repro", f"PYTHON={python}")
    assert result.returncode != 0
    assert result.stderr.splitlines()[0] == (
        f"{python} is {found}; Python 3.11 or newer is needed. Name one that you have: make PYTHON=python3.12 repro"
    )
    assert not (tmp_path / ".venv").exists()
