"""800 photos of mixed shapes in folders of classes, as a new user brings them: everything is used or named."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from stylegan.data import ImageDataset
from tests.photos import CLASSES, Photos, write_photos

NUM_BAD = {"truncated": 8, "text": 4, "lab": 10, "deep": 3, "moving": 3}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """In a folder whose name has a space and letters beyond ASCII"""
    return write_photos(tmp_path_factory.mktemp("photos") / "meine Bilder ä", 800 - sum(NUM_BAD.values()), NUM_BAD)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    folder = tmp_path_factory.mktemp("work")
    shutil.copy(repository / "params.yaml", folder)
    return folder


def run(module: str, *arguments: str, cwd: Path, repository: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"pipelines.{module}", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=280, check=False,
        env=os.environ | {"PYTHONPATH": str(repository), "DVC_ROOT": str(cwd)},
    )  # fmt: skip


@pytest.mark.e2e
@pytest.mark.slow
def test_every_photo_is_used_or_named(photos: Photos, workplace: Path, repository: Path) -> None:
    source = ["--source", str(photos.folder)]
    planned = run("plan", "--preset", "auto", "--resolution", "32", "--gpus", "0", *source, cwd=workplace,
                  repository=repository)  # fmt: skip
    assert planned.returncode == 0, planned.stderr
    prepared = run("prepare", cwd=workplace, repository=repository)
    assert prepared.returncode == 0, prepared.stderr
    facts = json.loads((workplace / "data" / "manifest.json").read_text())
    assert {image["source"] for image in facts["images"]} == {name for names in photos.good.values() for name in names}
    assert {file["source"] for file in facts["bad_files"]} == {name for names in photos.bad.values() for name in names}
    assert facts["ignored_files"] == [f"{photos.folder}/notes.txt"]
    counts = Counter(CLASSES[image["label"]] for image in facts["images"])
    assert counts == {name: len(names) for name, names in photos.good.items()}
    # What the plan said of headers is what became of the images.
    split = facts["split"]
    assert f"{split['train']:,} images will train, {split['holdout']:,} are held out." in planned.stdout
    assert 30 <= split["holdout"] <= 40
    data = ImageDataset(workplace / "data/archive.zip", use_labels=True, xflip=False, split="train", max_images=None)
    assert (data.img_shape, data.c_dim, data.class_names) == ((3, 32, 32), 3, sorted(CLASSES))


@pytest.mark.e2e
@pytest.mark.slow
def test_photos_of_other_shapes_are_not_thrown_away_in_silence(
    photos: Photos, workplace: Path, repository: Path
) -> None:
    """The settings of the demo, without a plan: prepare stops and names the setting that helps."""
    source = f"prepare.source={photos.folder}"
    refused = run("prepare", source, "prepare.transform=none", cwd=workplace,
                  repository=repository)  # fmt: skip
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "set prepare.transform to center-crop" in refused.stderr
    told = [line for line in refused.stdout.splitlines() if not line.startswith("checking")]
    assert len(told) < 30
    listed = json.loads((workplace / "data" / "bad_files.json").read_text())
    assert len(listed) > 600
