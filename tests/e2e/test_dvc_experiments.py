"""DVC's own ways of running and sharing: experiments here, in a queue and in a temporary clone; push and pull."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from pipelines.artifacts.ticks import read
from pipelines.params import Params
from tests.dvc_project import Project, Workplace

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1500)]

LIMIT_SEC = 900
MODEL = Path("models/generator.safetensors")


@pytest.fixture(scope="module")
def make_project(
    repository: Path, make_params: Callable[..., Params], tmp_path_factory: pytest.TempPathFactory,
    write_pictures: Callable[..., list[str]],
) -> Callable[[], Project]:  # fmt: skip
    """A committed project whose images are 24 files; every run of it has the same archive"""
    images = tmp_path_factory.mktemp("images")
    write_pictures(images, 24, size=16)
    params = make_params(
        f"prepare.source={images}", "prepare.holdout_fraction=0.25", "train.total_kimg=0.008", "evaluate.metrics=[kid]"
    )

    def make() -> Project:
        project = Project(tmp_path_factory.mktemp("project"), repository, params)
        project.commit()
        return project

    return make


def test_an_experiment_reads_the_numbers_that_dvc_writes(make_project: Callable[[], Project]) -> None:
    project = make_project()
    project.dvc("exp", "run", "prepare", "--set-param", "prepare.max_bad_share=5e-05")
    assert "max_bad_share: 5e-05" in (project.folder / "params.yaml").read_text()
    assert (project.folder / "data" / "archive.zip").exists()


@pytest.fixture(scope="module")
def trained(make_project: Callable[[], Project]) -> Project:
    """A project whose outputs, of 8 images, are in DVC's cache and whose dvc.lock is committed"""
    project = make_project()
    project.dvc("repro")
    project.commit()
    return project


@pytest.fixture
def project(trained: Project) -> Iterator[Project]:
    """The same, as committed again after each test; runs stay"""
    yield trained
    trained.git("checkout", "-q", "--", ".")
    trained.dvc("checkout", "--force")


def ran(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def lengths(project: Project) -> dict[str, list[int]]:
    """Positions in the tick log of each run"""
    runs = [path.parent for path in project.folder.glob("runs/*/driver.lock")]
    return {run.name: [round(row.nimg) for row in read(run)] for run in runs}


@pytest.mark.long
def test_an_experiment_that_is_longer_continues_the_run_and_one_with_another_rate_is_another(project: Project) -> None:
    before = lengths(project)
    (name,) = before
    output = project.dvc("exp", "run", "train", "-S", "train.total_kimg=0.016")
    assert "resuming from kimg 0.008" in output
    assert lengths(project) == {name: [8, 16]}
    project.dvc("exp", "run", "train", "-S", "train.g_lr=5e-05")
    assert sorted(lengths(project).values()) == [[8, 16], [8, 16]]
    shown = project.dvc("exp", "show", "--json", "--no-pager")
    assert "5e-05" in shown


@pytest.mark.long
def test_an_experiment_in_a_temporary_clone_keeps_its_run_and_leaves_the_work_tree_alone(project: Project) -> None:
    before = lengths(project)
    model = (project.folder / MODEL).read_bytes()
    project.dvc("exp", "run", "--temp", "train", "-S", "train.seed=3")
    (found,) = lengths(project).keys() - before.keys()
    assert (project.folder / "runs" / found / "checkpoints").is_dir()
    assert (project.folder / MODEL).read_bytes() == model


@pytest.mark.long
def test_queued_experiments_run_in_the_background_or_all_at_once_and_can_be_applied(project: Project) -> None:
    before = lengths(project)
    for seed in (1, 2):
        project.dvc("exp", "run", "--queue", "--name", f"seed-{seed}", "train", "-S", f"train.seed={seed}")
        if seed == 1:
            project.dvc("queue", "start")
            await_success(project)
        else:
            project.dvc("exp", "run", "--run-all")
    assert len(lengths(project)) == len(before) + 2
    for seed in (2, 1):
        project.dvc("exp", "apply", f"seed-{seed}")
        assert yaml.safe_load((project.folder / "params.yaml").read_text())["train"]["seed"] == seed
        assert json.loads((project.folder / "models" / "train.json").read_text())["seed"] == seed


def await_success(project: Project) -> None:
    """Wait until the queue has done its only task."""
    deadline = time.monotonic() + LIMIT_SEC
    try:
        while "Success" not in (status := project.dvc("queue", "status")):
            assert "Failed" not in status, status
            assert time.monotonic() < deadline, status
            time.sleep(2)
    finally:
        project.dvc("queue", "stop", "--kill")


@pytest.mark.long
def test_a_fresh_clone_pulls_the_model_and_trains_nothing(project: Project, tmp_path: Path) -> None:
    project.dvc("remote", "add", "--local", "--default", "here", str(tmp_path / "remote"))
    assert "pushed" in project.dvc("push")
    subprocess.run(["git", "clone", "-q", str(project.folder), str(tmp_path / "clone")], check=True)
    clone = Workplace(tmp_path / "clone")
    clone.dvc("remote", "add", "--local", "--default", "here", str(tmp_path / "remote"))
    clone.dvc("pull")
    assert (clone.folder / MODEL).read_bytes() == (project.folder / MODEL).read_bytes()
    assert (clone.folder / "reports" / "index.html").exists()
    assert ran(clone.dvc("repro")) == []
    assert not (clone.folder / "runs").exists()
