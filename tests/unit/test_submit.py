"""pipelines/submit.py as a cluster runs it: a copy far from its project; the three commands it starts are stand-ins."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

STAND_IN = """
import json, os, pathlib, sys
with open("calls.jsonl", "a") as file:
    call = [pathlib.Path(sys.argv[0]).parent.name + "/" + pathlib.Path(sys.argv[0]).stem, *sys.argv[1:]]
    print(json.dumps([call, os.environ["RAY_ADDRESS"], os.environ["PATH"].split(os.pathsep)[0]]), file=file)
sys.exit({status})
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "dvc.yaml").touch()
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    stand_in(folder, "pipelines", "cluster")
    stand_in(folder, "pipelines", "tracking")
    stand_in(folder, "dvc", "__main__")
    return folder


def stand_in(folder: Path, package: str, module: str, status: int = 0) -> None:
    (folder / package).mkdir(exist_ok=True)
    (folder / package / "__init__.py").touch()
    (folder / package / f"{module}.py").write_text(STAND_IN.format(status=status))


def submit(
    folder: Path, repository: Path, *arguments: str, ray_address: str | None = None
) -> subprocess.CompletedProcess[str]:
    copy = folder.parent / "submit.py"  # as `ray submit` makes it
    shutil.copy(repository / "pipelines/submit.py", copy)
    given = {"STYLEGAN_PROJECT": str(folder)} | ({"RAY_ADDRESS": ray_address} if ray_address else {})
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | given
    return subprocess.run(
        [sys.executable, str(copy), *arguments], check=False, capture_output=True, text=True, env=environment
    )


def calls(folder: Path) -> list[list[str]]:
    return [json.loads(line)[0] for line in (folder / "calls.jsonl").read_text().splitlines()]


def settings(folder: Path) -> set[tuple[str, str]]:
    return {tuple(json.loads(line)[1:]) for line in (folder / "calls.jsonl").read_text().splitlines()}


def test_the_cluster_is_checked_the_pipeline_run_and_its_run_published(project: Path, repository: Path) -> None:
    result = submit(project, repository, "train", "--force")
    assert result.returncode == 0, result.stderr
    assert calls(project) == [
        ["pipelines/cluster", "check"], ["dvc/__main__", "repro", "train", "--force"],
        ["pipelines/tracking", "publish"],
    ]  # fmt: skip
    assert f"Report: {project}/reports/index.html on this machine." in result.stdout


def test_stages_join_the_cluster_of_this_machine_with_this_python(project: Path, repository: Path) -> None:
    submit(project, repository)
    assert settings(project) == {("auto", str(Path(sys.executable).parent))}


def test_the_address_that_a_job_was_given_is_kept(project: Path, repository: Path) -> None:
    submit(project, repository, ray_address="10.0.0.1:6379")
    assert {address for address, _ in settings(project)} == {"10.0.0.1:6379"}


def test_an_unfit_cluster_runs_nothing(project: Path, repository: Path) -> None:
    stand_in(project, "pipelines", "cluster", status=1)
    assert submit(project, repository).returncode == 1
    assert calls(project) == [["pipelines/cluster", "check"]]


def test_a_failed_run_is_published_and_still_a_failure(project: Path, repository: Path) -> None:
    stand_in(project, "dvc", "__main__", status=3)
    result = submit(project, repository)
    assert result.returncode == 3
    assert calls(project)[-1] == ["pipelines/tracking", "publish"]
    assert "Report:" not in result.stdout


def test_an_unreachable_tracking_server_does_not_fail_the_run(project: Path, repository: Path) -> None:
    stand_in(project, "pipelines", "tracking", status=1)
    result = submit(project, repository)
    assert (result.returncode, result.stderr) == (
        0, "Not everything reached the tracking server; nothing is lost, the next run sends it.\n",
    )  # fmt: skip


def test_a_project_without_git_is_one_for_dvc_too(project: Path, repository: Path) -> None:
    shutil.rmtree(project / ".git")
    submit(project, repository)
    assert calls(project)[0] == ["dvc/__main__", "config", "--quiet", "--local", "core.no_scm", "true"]


def test_a_missing_project_is_named_with_the_remedy(tmp_path: Path, repository: Path) -> None:
    result = submit(tmp_path / "nowhere", repository)
    assert (result.returncode, result.stderr) == (
        1,
        f"submit: {tmp_path}/nowhere: holds no dvc.yaml. Set STYLEGAN_PROJECT to the folder of the project on this "
        "machine; `ray up infra/ray/on-prem.yaml` does.\n",
    )
