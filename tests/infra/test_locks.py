"""infra/locks: what is installed is what constraints.txt says, with the sum of every file, and pip can install it."""

import importlib.metadata
import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS = Path(__file__).resolve().parent.parent.parent / "infra/locks"
LISTS = {file.stem: file for file in sorted(LOCKS.glob("*.txt"))}
ENTRY = re.compile(r"^(?=[a-z0-9])", re.MULTILINE)
FOREIGN = {"win32", "emscripten"}  # packages that only other systems need are in no constraints.txt made on Linux
every_list = pytest.mark.parametrize("name", LISTS)


def entries(name: str) -> dict[str, str]:
    """Entry of each package of a list"""
    found = ENTRY.split(LISTS[name].read_text())[1:]
    return {canonicalize_name(Requirement(requirement_of(entry)).name): entry for entry in found}


def requirement_of(entry: str) -> str:
    return entry.partition("\\\n")[0].strip()


@pytest.fixture(scope="module")
def locked(repository: Path) -> dict[str, str]:
    lines = (repository / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines if not line.startswith("#")}


@every_list
def test_every_file_has_a_sum_and_every_version_is_that_of_the_constraints(name: str, locked: dict[str, str]) -> None:
    for package, entry in entries(name).items():
        first = Requirement(requirement_of(entry))
        assert re.fullmatch(r"==[\w.+]+", str(first.specifier)), entry
        assert re.findall(r"--hash=(sha256:[0-9a-f]{64})(?: |\n|$)", entry), package
        assert entry.count("--hash") == len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry))
        if package in locked:
            build = "+cpu" if (name, package) == ("torch-cpu", "torch") else ""
            assert str(first.specifier) == f"=={locked[package]}{build}", package
        elif name not in ("server", "gcp"):  # what only those need is in no environment of the project
            assert any(system in str(first.marker) for system in FOREIGN), package


def requirements_of(package: str) -> list[str]:
    """What an installed package asks for; nothing if it is not installed"""
    try:
        return importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def test_the_lists_hold_every_dependency_that_is_installed_here(repository: Path) -> None:
    """A dependency that the lists lack makes pip refuse all of them."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(each) for each in project["dependencies"]]
    wanted += [Requirement(each) for each in project["optional-dependencies"]["dev"]]
    held = {package for name in ("torch", "run", "cuda", "dev") for package in entries(name)}
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        requirement = wanted.pop()
        package, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (package, extras) in seen:
            continue
        seen.add((package, extras))
        assert package in held, f"{package}: run infra/lock.py"
        for text in requirements_of(package):
            needed = Requirement(text)
            environments = [default_environment() | {"extra": extra} for extra in ("", *extras)]
            if needed.marker is None or any(needed.marker.evaluate(dict(each)) for each in environments):
                wanted.append(needed)


@every_list
def test_no_list_contradicts_what_its_packages_ask_for(name: str, locked: dict[str, str]) -> None:
    """As boto3 of the server's image once did: aiobotocore and the constraints want another botocore."""
    versions = {package: requirement_of(entry).split("==")[1].split()[0] for package, entry in entries(name).items()}
    everything = locked | versions
    for package, version in versions.items():
        try:
            installed = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        if installed.version.partition("+")[0] != version:
            continue
        for text in installed.requires or []:
            needed = Requirement(text)
            other = canonicalize_name(needed.name)
            if other in everything and (needed.marker is None or needed.marker.evaluate({"extra": ""})):
                assert needed.specifier.contains(everything[other], prereleases=True), f"{package}: {text}"


def test_builds_without_cuda_are_known_by_their_sums(locked: dict[str, str]) -> None:
    lines = [line.split() for line in (LOCKS / "torch-cpu.sums").read_text().splitlines() if not line.startswith("#")]
    assert {file.split("-")[1] for _, file in lines} == {f"{locked['torch']}+cpu"}
    assert {file.split("-")[2] for _, file in lines} >= {"cp311", "cp312"}  # of the images and of the clouds' machines
    torch = entries("torch-cpu")["torch"]
    assert all(f"--hash=sha256:{digest}" in torch for digest, _ in lines)


@every_list
def test_the_inputs_agree_with_the_lists(name: str) -> None:
    source = LOCKS / f"{name}.in"
    if not source.exists():
        return
    for line in source.read_text().splitlines():
        wanted = Requirement(line.partition("#")[0].strip())
        entry = Requirement(requirement_of(entries(name)[canonicalize_name(wanted.name)]))
        assert not wanted.specifier or wanted.specifier == entry.specifier


def test_what_is_installed_is_not_installed_again_and_what_is_not_is(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = runpy.run_path(str(repository / "infra/install.py"))
    calls: list[list[str]] = []
    (tmp_path / "torch.txt").write_text(f"setuptools=={importlib.metadata.version('setuptools')} \\\n    --hash=x\n")
    (tmp_path / "cuda.txt").write_text("")
    scope = install["install"].__globals__
    monkeypatch.setitem(scope, "LOCKS", tmp_path)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: calls.append(command[command.index("install") + 1 :]))
    for line, is_asked_for in (
        ("pyyaml==6.0.3 ; sys_platform == 'win32'\nPyYAML==6.0.3 \\", False),
        ("pyyaml==6.0.2 \\", True),
        ("nothing-like-it==1 ; python_version > '3'", True),
    ):
        (tmp_path / "run.txt").write_text(line)
        calls.clear()
        install["install"](extras=[], project=False, torch_index=None)
        assert len(calls) == is_asked_for
        assert all("--require-hashes" in call and str(tmp_path / "run.txt") in call for call in calls)


@pytest.mark.parametrize(("offered", "taken"), [("2.13.0+cpu", "torch-cpu.txt"), ("2.13.0", "torch.txt")])
def test_a_build_without_cuda_is_taken_where_pip_is_told_of_one(
    offered: str, taken: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = runpy.run_path(str(repository / "infra/install.py"))["install"]
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        return subprocess.CompletedProcess(command, 0, json.dumps({"install": [{"metadata": {"version": offered}}]}))

    monkeypatch.setitem(install.__globals__, "is_installed", lambda *names: names != ("torch",))
    monkeypatch.setattr(subprocess, "run", run)
    install(extras=[], project=False, torch_index="https://example.org/cpu")
    assert all("--extra-index-url" in call for call in calls)
    assert [Path(call[-1]).name for call in calls] == ["torch==2.13.0", taken]


@pytest.mark.long
@pytest.mark.parametrize(
    "names",
    [("server",), ("aws",), ("gcp",), ("run", "dev", "heif", "hub", "s3", "serve", "sweep", "export")],
    ids="-".join,
)
def test_pip_finds_every_version_and_no_contradiction(names: tuple[str, ...], tmp_path: Path) -> None:
    """Without the sums, for with them pip fetches whole files even in a dry run"""
    plain = [requirement_of(entry) for name in names for entry in entries(name).values()]
    if "torch" not in names:
        plain = [line for line in plain if not line.startswith("torch==")]
    (tmp_path / "plain.txt").write_text("\n".join(plain))
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--quiet",
        "--ignore-installed",
        "--retries=1",
        "-r",
    ]
    done = subprocess.run([*command, str(tmp_path / "plain.txt")], check=False, capture_output=True, text=True)
    if done.returncode and "connection broken by" in done.stderr:
        pytest.skip("no package index answers")
    assert done.returncode == 0, done.stderr
