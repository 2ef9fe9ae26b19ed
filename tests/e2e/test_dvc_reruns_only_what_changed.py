"""What a change of parameters, images or code reruns, asked of DVC itself; outputs are stand-ins."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.clean import CleanError, remove_outputs
from pipelines.plan.yaml_edit import rewrite

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


class Clone:
    """A copy of the repository where every stage is up to date."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self.folder = folder
        names = subprocess.run(["git", "ls-files"], cwd=repository, check=True, capture_output=True, text=True).stdout
        for name in names.splitlines():
            if (repository / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes((repository / name).read_bytes())
        (folder / "dvc.lock").unlink(missing_ok=True)
        for name in (
            "assets/earth/bmng.jpg",
            "assets/efficientnet_lite0.safetensors",
            "assets/lpips_vgg16.safetensors",
        ):
            self.write(name)
        self.stages = yaml.safe_load((folder / "dvc.yaml").read_text())["stages"]  # sweep/ is a pipeline of its own
        for stage in self.stages.values():
            for out in [*stage.get("outs", []), *stage.get("metrics", [])]:
                if out != "assets":
                    self.write(out)
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        self.commit()

    def write(self, name: str) -> None:
        """A stand-in for an output."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)

    def commit(self) -> None:
        """Take what is here for what the stages made."""
        self.dvc("commit", "--force", *self.stages)

    def dvc(self, *arguments: str) -> str:
        """Output of a dvc command here."""
        environment = os.environ | {
            "DVC_NO_ANALYTICS": "true",
            "DVC_SITE_CACHE_DIR": str(self.folder / ".site"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = [sys.executable, "-m", "dvc", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=environment, check=True, capture_output=True, text=True
        ).stdout

    def changed_stages(self) -> set[str]:
        """Stages that `dvc repro` would run before any output changes."""
        return set(json.loads(self.dvc("status", "--json", *self.stages)))


@pytest.fixture(scope="module")
def up_to_date(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return Clone(repository, tmp_path_factory.mktemp("clone"))


@pytest.fixture
def clone(up_to_date: Clone) -> Iterator[Clone]:
    path = up_to_date.folder / "params.yaml"
    before = path.read_bytes()
    yield up_to_date
    path.write_bytes(before)


def test_nothing_reruns_when_nothing_changed(clone: Clone) -> None:
    assert clone.changed_stages() == set()
    assert "Data and pipelines are up to date." in clone.dvc("repro")


@pytest.mark.parametrize(
    ("path", "value", "stages"),
    [
        ("cluster.num_workers", 2, set()),
        ("cluster.address", "auto", set()),
        ("tracking.experiment", "another", set()),
        ("render.truncation_psi", 0.1, {"render"}),
        ("evaluate.num_images", 600, {"evaluate", "render"}),
        # The page shows every parameter, so `render` follows all of them.
        ("train.g_lr", 0.1, {"train", "render"}),
        ("train.resume_from", "pretrained/a.safetensors", {"train", "render"}),
        ("augment.multipliers.hue", 0.5, {"train", "render"}),
        ("prepare.holdout_fraction", 0.5, {"prepare", "render"}),
    ],
)
def test_a_parameter_reruns_the_stages_that_read_it(clone: Clone, path: str, value: Any, stages: set[str]) -> None:
    file = clone.folder / "params.yaml"
    rewrite(file, file, {path: value})
    assert clone.changed_stages() == stages


def test_new_images_in_the_users_folder_rerun_prepare(clone: Clone, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"one")
    file = clone.folder / "params.yaml"
    rewrite(file, file, {"prepare.source": str(tmp_path)})
    clone.dvc("commit", "--force", "prepare", "render")
    assert clone.changed_stages() == set()
    (tmp_path / "two.png").write_bytes(b"two")
    assert clone.changed_stages() == {"prepare"}


def test_other_networks_to_start_from_rerun_training(clone: Clone) -> None:
    before = clone.changed_stages()
    clone.write("pretrained/face.safetensors")
    assert clone.changed_stages() - before == {"train"}
    (clone.folder / "pretrained/face.safetensors").unlink()
    assert clone.changed_stages() == before


def test_byte_compiled_code_reruns_nothing(clone: Clone) -> None:
    for package in ("stylegan/ops", "stylegan/networks"):
        clone.write(f"{package}/__pycache__/module.cpython-311.pyc")
    clone.commit()
    clone.write("stylegan/ops/__pycache__/other.cpython-311.pyc")
    assert clone.changed_stages() == set()


def test_changed_code_reruns_what_imports_it(clone: Clone) -> None:
    clone.commit()
    path = clone.folder / "stylegan/metrics/evaluation/ppl.py"
    before = path.read_bytes()
    path.write_bytes(before + b"\n")
    assert clone.changed_stages() == {"evaluate"}
    path.write_bytes(before)


def test_clean_removes_what_the_cache_can_restore_and_nothing_else(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = Clone(repository, tmp_path / "clone")
    mine = clone.folder / "data" / "photos" / "cat.png"
    mine.parent.mkdir()
    mine.write_text("of the user")
    (clone.folder / "models" / "generator.safetensors").write_text("trained without DVC")
    sweep = clone.folder / "reports" / "sweep" / "table.md"
    sweep.parent.mkdir()
    sweep.write_text("of a sweep with arguments")
    removed, kept = remove_outputs(clone.folder)
    assert not (clone.folder / "data" / "archive.zip").exists()
    assert not (clone.folder / "assets").exists()
    assert "reports/index.html" in removed
    assert kept == ["models/generator.safetensors", "reports/sweep/"]
    assert mine.read_text() == "of the user"
    assert sweep.exists()
    clone.dvc("checkout", "--force", "prepare")
    assert (clone.folder / "data" / "archive.zip").read_text() == "data/archive.zip"


def test_clean_removes_nothing_if_dvc_cannot_answer(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(CleanError, match=r"`dvc data status` failed: .*Nothing was removed"):
        remove_outputs(tmp_path)
    assert (tmp_path / "data").exists()
