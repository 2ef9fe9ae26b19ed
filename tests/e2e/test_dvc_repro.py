"""The user's path: a real `dvc repro` of a folder of images, killed with SIGKILL in mid-training and run again."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from pipelines.artifacts.ticks import read, read_csv
from pipelines.params import Params
from tests.dvc_project import Project
from tests.readme import blocks, shape

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1500)]  # a busy machine took 7 minutes

NUM_TICKS = 8
LIMIT_SEC = 600  # to the first snapshot, which a busy machine took 230 for


@pytest.fixture(scope="module")
def params(
    make_params: Callable[..., Params],
    tmp_path_factory: pytest.TempPathFactory,
    write_pictures: Callable[..., list[str]],
) -> Params:
    images = tmp_path_factory.mktemp("images")
    write_pictures(images, 24, size=16)
    return make_params(
        f"prepare.source={images}", "prepare.holdout_fraction=0.25", f"train.total_kimg={0.008 * NUM_TICKS}"
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, repository: Path, params: Params) -> Project:
    return Project(tmp_path_factory.mktemp("project"), repository, params)


@pytest.fixture(scope="module")
def killed_and_resumed(project: Project) -> str:
    """Kill every process of `dvc repro` after the first snapshot, then give the same command again."""
    deadline = time.monotonic() + LIMIT_SEC
    with project.start("repro") as process:
        try:
            while not list(project.folder.glob("runs/*/checkpoints/nimg_*/state.safetensors")):
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline, "no snapshot"
                time.sleep(0.02)
        finally:  # also a run without a snapshot does not outlive the test
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert not (project.folder / "models" / "train.json").exists(), "killed too late to show anything"
    return project.dvc("repro")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, repository: Path, params: Params) -> tuple[Project, str]:
    """The same run elsewhere, and what it said"""
    other = Project(tmp_path_factory.mktemp("other"), repository, params, num_threads=2)
    other.git("commit", "-qm", "a", "--allow-empty")
    return other, other.dvc("repro")


def test_every_output_of_a_killed_and_resumed_run_is_that_of_an_uninterrupted_one_elsewhere(
    project: Project, killed_and_resumed: str, uninterrupted: tuple[Project, str]
) -> None:
    other, _ = uninterrupted
    first, second = (digests(each.folder / "dvc.lock") for each in (project, other))
    assert {"models/generator.safetensors", "reports/ticks.csv", "reports/mixing.png", "reports/index.html"} <= {*first}
    assert first == second
    assert len(read_csv(other.folder / "reports" / "ticks.csv")) == NUM_TICKS


def test_the_readme_shows_lines_that_a_run_prints(uninterrupted: tuple[Project, str], repository: Path) -> None:
    (shown,) = [block for block in blocks(repository / "README.md") if block.language == "text"]
    said = {shape(line) for line in uninterrupted[1].splitlines()}
    said.add(shape(re.findall(r'echo "(Report: .*)"', (repository / "Makefile").read_text())[0]))  # of make repro
    assert len(shown.lines) == 10
    assert [line for line in shown.lines if shape(line) not in said] == []


def digests(lock: Path) -> dict[str, str]:
    """md5 of every output of every stage"""
    stages = yaml.safe_load(lock.read_text())["stages"].values()
    return {out["path"]: out["md5"] for stage in stages for out in stage["outs"]}


def test_every_tick_is_recorded_once(project: Project, killed_and_resumed: str) -> None:
    nimg = [row.nimg for row in read(project.run_folder())]
    assert nimg == [8.0 * (index + 1) for index in range(NUM_TICKS)]


def test_run_leaves_a_report_and_numbers(project: Project, killed_and_resumed: str) -> None:
    metrics = json.loads((project.folder / "reports" / "metrics.json").read_text())
    assert set(metrics["metrics"]) >= {"kid_random", "precision_random", "recall_random"}
    assert "<html" in (project.folder / "reports" / "index.html").read_text()


def test_run_is_a_model_in_the_registry_that_best_names(project: Project, killed_and_resumed: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    (model,) = client.search_registered_models()
    (version,) = client.search_model_versions(f"name = '{model.name}'")
    assert model.name.startswith("images")
    assert {name: str(number) for name, number in model.aliases.items()} == {"best": str(version.version)}
    assert client.get_run(version.run_id).info.run_name.startswith("images")


def test_second_repro_runs_no_stage(project: Project, killed_and_resumed: str) -> None:
    assert "Running stage" not in project.dvc("repro")


def test_changed_evaluation_reruns_evaluate_and_render_only(project: Project, killed_and_resumed: str) -> None:
    project.change("evaluate.seed", 1)
    output = project.dvc("repro")
    ran = [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
    assert ran == ["evaluate", "render"]


def test_changed_cluster_reruns_nothing(project: Project, killed_and_resumed: str) -> None:
    project.change("cluster.max_failures", 7)
    assert "Running stage" not in project.dvc("repro", "train")
