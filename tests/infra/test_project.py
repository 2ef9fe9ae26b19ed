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


def test_continuous_integration_installs_a_browser_and_runs_the_readmes_test_command(repository: Path) -> None:
    script = repository / ".ci/run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if line and not line.startswith(("#", "set ", "cd "))]
    browser, tests = commands
    assert browser.startswith("command -v chromium >/dev/null || apt-get install -y chromium >/dev/null")
    assert tests == "exec make test"
    workflow = (repository / ".github/workflows/ci.yml").read_text()
    assert re.findall(r"run: (.*)", workflow) == ["bash .ci/run"]


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "-C", str(folder), *arguments], check=False, capture_output=True, text=True)


def test_make_alone_lists_every_command(repository: Path) -> None:
    listed = re.findall(r"^  make ([\w-]+) +\S", make(repository).stdout, re.MULTILINE)
    commands = ["help", "repro", "sweep", "ablate", "stop", "test", "test-cluster", "lint", "ui", "bench",
                "weights-standard", "up", "fetch-report", "clean"]  # fmt: skip
    assert listed == commands


COPIED = ("Makefile", "pyproject.toml", "constraints.txt", "infra/install.py")  # what `make` installs with


@pytest.mark.parametrize(
    ("script", "found"),
    [('[ "$1" = --version ] && echo Python 3.9.1', "Python 3.9.1"), (None, "not there")],
    ids=["old", "absent"],
)
def test_an_unfit_python_is_named_with_the_remedy(
    repository: Path, tmp_path: Path, script: str | None, found: str
) -> None:
    for name in COPIED:
        (tmp_path / name).parent.mkdir(exist_ok=True)
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


STAND_IN = """#!/bin/sh
# Stands for python, dvc and whatever make starts: notes how it was called, and makes the environment asked for.
echo "$(basename "$0") $* PIP_USER=$PIP_USER PIP_TARGET=$PIP_TARGET" >> "$CALLS"
if [ "$2" = venv ]; then
    mkdir -p .venv/bin
    for name in python dvc pytest ruff mypy lint-imports; do cp "$0" .venv/bin/$name; done
fi
"""


class Made:
    """A folder with the Makefile and stand-ins for all that it starts"""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in COPIED:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(repository / name, folder / name)
        (folder / "stand-in").write_text(STAND_IN)
        (folder / "stand-in").chmod(0o755)

    def calls(self, *arguments: str, **environment: str) -> list[str]:
        """What make starts for a command that must succeed"""
        log = self.folder / "calls"
        log.write_text("")
        values = os.environ | {"CALLS": str(log), "GIT_CEILING_DIRECTORIES": str(self.folder.parent)} | environment
        command = ["make", "-C", str(self.folder), "PYTHON=./stand-in", "--no-print-directory", *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=values)
        assert done.returncode == 0, done.stderr
        self.said = done.stdout
        return log.read_text().splitlines()


@pytest.fixture
def made(tmp_path: Path, repository: Path) -> Made:
    return Made(tmp_path / "clone", repository)


def installed(calls: list[str]) -> list[str]:
    """What is asked for besides what running needs"""
    return [call.partition("infra/install.py")[2].split(" PIP_")[0] for call in calls if "infra/install.py" in call]


def test_repro_installs_what_running_needs_and_test_the_rest(made: Made) -> None:
    assert installed(made.calls("repro")) == [""]
    assert installed(made.calls("repro")) == []
    assert installed(made.calls("lint")) == [" --extra dev"]
    assert installed(made.calls("test")) == []


def test_another_version_in_the_constraints_installs_both_again(made: Made) -> None:
    made.calls("lint")
    os.utime(made.folder / "constraints.txt", (2**32, 2**32))
    assert installed(made.calls("lint")) == ["", " --extra dev"]


@pytest.mark.parametrize("command", ["help", "stop"])
def test_help_and_stop_install_nothing(made: Made, command: str) -> None:
    assert made.calls(command) == []
    assert not (made.folder / ".venv").exists()
    assert command == "help" or made.said.endswith("Nothing trains here: .venv is not installed yet.\n")


def test_stop_runs_in_the_environment_that_is_there(made: Made) -> None:
    made.calls("repro")
    os.utime(made.folder / "constraints.txt", (2**32, 2**32))
    (call,) = made.calls("stop", "ARGS=--list")
    assert call.startswith("python -m pipelines.stop --list ")


def test_pip_installs_into_the_environment_whatever_the_user_told_it(made: Made) -> None:
    calls = made.calls("repro", PIP_USER="1", PIP_TARGET="/elsewhere")
    assert calls
    assert all(call.endswith(" PIP_USER=0 PIP_TARGET=") for call in calls)


def test_a_cluster_gets_a_token_that_nobody_else_may_read_and_keeps_it(made: Made, tmp_path: Path) -> None:
    ray = made.folder / "stand-in"
    made.calls("repro")
    shutil.copy(ray, made.folder / ".venv/bin/ray")
    token = tmp_path / "home/.ray/auth_token"
    contents = set[str]()
    for _ in range(2):
        calls = made.calls("up", f"PYTHON={sys.executable}", "CLUSTER=c.yaml", HOME=str(tmp_path / "home"))
        assert [call.split(" PIP_")[0] for call in calls] == ["ray up c.yaml"]
        assert token.stat().st_mode & 0o077 == 0
        assert token.parent.stat().st_mode & 0o077 == 0
        contents.add(token.read_text())
        token.chmod(0o644)  # as Ray leaves it
    (secret,) = contents
    assert re.fullmatch("[0-9a-f]{64}", secret)


@pytest.mark.parametrize("has_git", [True, False])
def test_a_download_without_git_tells_dvc_so(made: Made, has_git: bool) -> None:
    if has_git:
        subprocess.run(["git", "init", "-q"], cwd=made.folder, check=True)
    calls = [call.split(" PIP_")[0] for call in made.calls("repro") if call.startswith("dvc ")]
    assert calls == [*([] if has_git else ["dvc config --quiet --local core.no_scm true"]), "dvc repro"]


def test_a_folder_with_spaces_is_one_word_to_make(tmp_path: Path, repository: Path) -> None:
    made = Made(tmp_path / "my photos \u00fc \u753b", repository)
    assert any(call.startswith("dvc repro") for call in made.calls("repro"))


PAGES = ("*.md", "docs/*.md", "infra/*.md", "pretrained/*.md", "weights/*.md")
BARE = re.compile(r"(^|&& |; |\| )(python3?|dvc|ray|mlflow|pip|pytest) ")


def bare_commands(page: str) -> list[str]:
    """Commands of a page that only start in the environment, and do not name it; none after a line that activates it"""
    found = []
    is_block = is_activated = False
    for line in page.splitlines():
        is_activated = is_activated or "source .venv/bin/activate" in line
        is_block = not is_block if line.startswith("```") else is_block
        is_command = is_block or line.startswith("    ")
        spans = [line.strip()] if is_command else [span for span in re.findall(r"`([^`]+)`", line) if " -m " in span]
        found += [span for span in spans if BARE.search(span)] if not is_activated else []
    return found


def test_commands_of_the_pages_start_as_they_are_written(repository: Path) -> None:
    pages = [page for pattern in PAGES for page in sorted(repository.glob(pattern)) if page.name != "CHANGELOG.md"]
    assert len(pages) > 15
    assert {page.name: found for page in pages if (found := bare_commands(page.read_text()))} == {}


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ("```\npython -m pipelines.plan\n```", ["python -m pipelines.plan"]),
        ("text\n\n    dvc push  # all\n", ["dvc push  # all"]),
        ("```\nmake repro && ray up x\n```", ["make repro && ray up x"]),
        ("see `python -m stylegan generate`", ["python -m stylegan generate"]),
        ("see `.venv/bin/python -m stylegan` and `dvc repro`", []),
        ("```\n.venv/bin/ray exec x 'ray status'\n```", []),
        ("```\nsource .venv/bin/activate\npython -m stylegan\n```", []),
    ],
)
def test_the_check_sees_commands_without_the_environment(page: str, found: list[str]) -> None:
    assert bare_commands(page) == found
