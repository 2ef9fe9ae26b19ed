"""`make stop` when a driver of a real Ray trains, and when one was killed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipelines.cluster import shutdown
from pipelines.cluster.ownership import owner_of
from pipelines.cluster.processes import orphans

pytestmark = pytest.mark.distributed

DRIVER = """
import os, sys, time
from pathlib import Path
from filelock import FileLock
from pipelines.cluster.connection import connect
from pipelines.params import load
folder = Path("runs/abc")
folder.mkdir(parents=True)
with FileLock(folder / "driver.lock"), connect(load(Path(sys.argv[1])).cluster):
    (folder / "pid").write_text(str(os.getpid()))
    print("up", flush=True)
    time.sleep(1200)
"""


@pytest.fixture
def driver(tmp_path: Path, repository: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds runs/abc below tmp_path and has a Ray of its own"""
    command = [sys.executable, "-c", DRIVER, str(repository / "params.yaml")]
    environment = os.environ | {"PYTHONPATH": str(repository), "DVC_ROOT": str(tmp_path)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()
    shutdown.stop(tmp_path, 10, lambda line: None)


def test_a_trainer_ends_with_its_ray(driver: "subprocess.Popen[str]", tmp_path: Path) -> None:
    assert orphans(tmp_path) == []
    lines: list[str] = []
    shutdown.stop(tmp_path, 60, lines.append)
    assert lines[0].startswith(f"runs/abc: process {driver.pid} ended after ")
    assert orphans(tmp_path) == []


def test_what_a_killed_driver_leaves_is_found_and_ended(driver: "subprocess.Popen[str]", tmp_path: Path) -> None:
    started = psutil.Process(driver.pid).children(recursive=True)
    owners = {owner_of(process) for process in started if process.is_running()}
    assert {owner and (owner.pid, owner.root) for owner in owners} == {(driver.pid, tmp_path.resolve())}
    driver.kill()
    driver.wait()
    lines: list[str] = []
    shutdown.stop(tmp_path, 3, lines.append)
    # Ray's node takes most of them with it, perhaps all before anybody looks.
    assert lines[0].startswith((f"driver {driver.pid} is gone; ended ", "Nothing trains in "))
    _, alive = psutil.wait_procs(started, timeout=120)
    assert alive == []
    assert orphans(tmp_path) == []
