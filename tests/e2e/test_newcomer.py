"""README's own commands on 800 photos in folders of classes, without a GPU: train, train longer, Ctrl-C and again.

Only lengths are overridden, as a user does who wants a quick look first.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.artifacts import ticks
from pipelines.plan.yaml_edit import rewrite
from stylegan.generators import load_any_generator
from tests.photos import CLASSES, write_photos
from tests.readme import blocks

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(1500)]

CODE = (
    "pipelines", "stylegan", "assets", "pretrained/README.md", "weights/README.md", "dvc.yaml", ".dvc/config",
    ".dvcignore", "params.yaml", "requirements-assets.txt", "Makefile", "constraints.txt", "pyproject.toml",
)  # fmt: skip
NUM_BAD = {"truncated": 4, "text": 4, "lab": 4}
KIMG = 0.32  # ten steps
LENGTHS = (
    f"train.total_kimg={KIMG}", "monitor.num_images=50", "evaluate.num_images=100", "evaluate.kid_subset_size=50",
    "evaluate.ppl_num_pairs=8", "evaluate.bootstrap_num_resamples=10",
)  # fmt: skip
LIMIT_SEC = 1200  # a busy machine's; two quiet cores take a tenth of it


class Clone:
    """A copy of the repository with the environment that runs the tests"""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder = folder
        for name in CODE:
            source, target = repository / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        (folder / ".venv").symlink_to(sys.prefix)
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        self.run([".venv/bin/python", "-m", "dvc", "commit", "--force", "assets"])

    def start(self, command: list[str]) -> "subprocess.Popen[str]":
        """Give a command, in a session of its own; what it says goes to log.txt."""
        environment = os.environ | {"DVC_NO_ANALYTICS": "true", "DVC_SITE_CACHE_DIR": str(self.folder / ".site")}
        for name in ("PYTHONPATH", "MLFLOW_TRACKING_URI", "DVC_STAGE", "DVC_ROOT"):
            environment.pop(name, None)
        with (self.folder / "log.txt").open("w") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, start_new_session=True, stdout=log,
                stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip

    def run(self, command: list[str]) -> str:
        """What a command says that must succeed"""
        code = self.start(command).wait(LIMIT_SEC)
        assert code == 0, self.said()
        return self.said()

    def repro(self) -> str:
        """make repro, whose environment is there"""
        return self.run(["make", "-o", ".venv/installed", "repro"])

    def said(self) -> str:
        return (self.folder / "log.txt").read_text()

    def runs(self) -> list[Path]:
        return [path.parent for path in self.folder.glob("runs/*/driver.lock")]

    def num_ticks(self) -> int:
        return sum(len(ticks.read(run)) for run in self.runs())

    def set_length(self, kimg: float) -> None:
        file = self.folder / "params.yaml"
        rewrite(file, file, {"train.total_kimg": kimg})


def own_images_commands(repository: Path, images: Path) -> list[list[str]]:
    """The commands in README's line for own images on a machine without a GPU, for these images"""
    lines = [line for block in blocks(repository / "README.md") for line in block.lines if "--gpus 0" in line]
    (line,) = [line.partition("#")[0].replace("path/to/images", shlex.quote(str(images))) for line in lines]
    return [shlex.split(command) for command in line.split("&&")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Clone]:
    photos = write_photos(tmp_path_factory.mktemp("photos") / "meine Bilder ä", 800 - sum(NUM_BAD.values()), NUM_BAD)
    clone = Clone(tmp_path_factory.mktemp("clone"), repository)
    plan, make = own_images_commands(repository, photos.folder)
    assert make == ["make", "repro"]
    said = clone.run([*plan, *LENGTHS])
    assert "12 of 800 images cannot be used" in said
    clone.repro()
    yield clone
    subprocess.run([sys.executable, "-m", "pipelines.stop"], cwd=clone.folder, check=False, capture_output=True)


def test_own_photos_become_a_conditional_generator_and_a_report(trained: Clone) -> None:
    G, class_names = load_any_generator(trained.folder / "models" / "generator.safetensors")
    assert (G.c_dim, class_names) == (len(CLASSES), sorted(CLASSES))
    generate = [".venv/bin/python", "-m", "stylegan", "generate", "models/generator.safetensors", "--seeds", "0-2"]
    drawn = {}
    for name in CLASSES:
        trained.run([*generate, "--class", name, "--out", name])
        drawn[name] = [path.read_bytes() for path in sorted((trained.folder / name).glob("*.png"))]
    assert [len(images) for images in drawn.values()] == [3] * len(CLASSES)
    assert len({images[0] for images in drawn.values()}) == len(CLASSES)  # the class is heard
    report = (trained.folder / "reports" / "index.html").read_text()
    assert all(name in report for name in CLASSES)


def test_twice_as_long_continues_the_run(trained: Clone) -> None:
    (run,) = trained.runs()
    before = ticks.read(run)
    trained.set_length(2 * KIMG)
    assert f"resuming from kimg {KIMG:g}" in trained.repro()
    assert trained.runs() == [run]
    after = ticks.read(run)
    assert after[: len(before)] == before  # nothing was trained again
    assert [row.nimg for row in (before[-1], after[-1])] == [1000 * KIMG, 2000 * KIMG]


def test_ctrl_c_in_training_saves_and_the_same_command_again_ends(trained: Clone) -> None:
    (run,), before = trained.runs(), trained.num_ticks()
    trained.set_length(100)
    command = [".venv/bin/python", "-m", "pipelines.train"]
    process = trained.start(command)
    deadline = time.monotonic() + LIMIT_SEC
    while trained.num_ticks() < before + 2:
        assert process.poll() is None, trained.said()
        assert time.monotonic() < deadline, trained.said()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
    assert process.wait(LIMIT_SEC) == 130, trained.said()
    assert "Traceback" not in trained.said()
    *_, last = trained.said().splitlines()
    assert last.startswith("Stopped: saved at kimg ")
    kimg = float(last.split()[4].rstrip("."))
    assert last.endswith("To continue, run: .venv/bin/python -m pipelines.train")
    trained.set_length(kimg + KIMG)
    assert f"resuming from kimg {kimg:g}" in trained.run(command)
    assert trained.runs() == [run]
    assert ticks.read(run)[-1].nimg == pytest.approx(1000 * (kimg + KIMG), abs=32)
