"""A disk that fills up under a training: one line says so, nothing is lost, and with room the same command goes on."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.faults.project import Project, finish
from tests.distributed.test_faults import TRAIN, wait_for

pytestmark = [pytest.mark.faults, pytest.mark.distributed, pytest.mark.timeout(1200)]

LIMIT_SEC = 400


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project on a disk of its own, whose output goes elsewhere, as to a terminal"""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    (folder := tmp_path / "project").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(folder)], check=False).returncode:
        pytest.skip("may not mount a small disk here")
    (folder / "log.txt").symlink_to(tmp_path / "log.txt")
    yield Project(folder, command=TRAIN)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**12))


def test_a_training_whose_disk_is_full_ends_in_one_line_and_goes_on_when_there_is_room(project: Project) -> None:
    other, process = project.folder / "other", project.start()
    try:
        wait_for(lambda: list(project.folder.glob("runs/*/checkpoints/nimg_*/checksums.json")), project, LIMIT_SEC)
        with pytest.raises(OSError, match="No space left"):
            fill(other)
        assert process.wait(LIMIT_SEC) == 1
        log = (project.folder / "log.txt").read_text()
        assert "Traceback" not in log
        (error,) = (line for line in log.splitlines() if line.startswith("error: "))
        assert f"{project.folder}" in error
        assert "No space left on device. Free space on its disk" in error
        other.unlink()
        assert finish(project, project.start(), LIMIT_SEC) == 0
    finally:
        process.kill()
        process.wait()
    assert "resuming from kimg " in (project.folder / "log.txt").read_text()
    found = project.outcome()
    assert found["num_ticks"] == 60
    assert found["steps"] == sorted(set(found["steps"])), "every tick recorded once"
