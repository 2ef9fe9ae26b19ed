"""README's quick start, line by line, from `git clone` to a drawn image. Only the length of training is changed."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.plan.yaml_edit import rewrite
from tests.readme import blocks

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(1500)]

SHORT = {
    "train.total_kimg": 0.32, "monitor.num_images": 50, "evaluate.num_images": 100, "evaluate.kid_subset_size": 50,
    "evaluate.ppl_num_pairs": 8, "evaluate.bootstrap_num_resamples": 10, "evaluate.floor_splits": 2,
}  # fmt: skip
LIMIT_SEC = 600
UI_PORT = 5000


class Shell:
    """A folder in which lines are given to bash; what they say is kept"""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log.txt"

    def start(self, line: str) -> subprocess.Popen[bytes]:
        # The environment is there, so make has to be told not to build it again.
        line = re.sub(r"^make ", "make -o .venv/installed ", line)
        environment = os.environ | {"DVC_NO_ANALYTICS": "true", "DVC_SITE_CACHE_DIR": str(self.folder / ".site")}
        environment |= {"BROWSER": "true", "PYTHONPATH": str(self.folder)}
        for name in ("MLFLOW_TRACKING_URI", "DVC_STAGE", "DVC_ROOT"):
            environment.pop(name, None)
        with self.log.open("wb") as log:
            return subprocess.Popen(
                ["bash", "-c", line], cwd=self.folder, env=environment, start_new_session=True, stdout=log, stderr=log
            )

    def run(self, line: str) -> str:
        code = self.start(line).wait(LIMIT_SEC)
        assert code == 0, self.log.read_text()
        return self.log.read_text()

    def enter(self, name: str, repository: Path) -> None:
        """cd, and what the installation and the download of assets bring"""
        self.folder = self.folder / name
        rewrite(self.folder / "params.yaml", self.folder / "params.yaml", SHORT)
        (self.folder / ".venv").mkdir()
        for part in ("bin", "lib", "pyvenv.cfg"):
            (self.folder / ".venv" / part).symlink_to(Path(sys.prefix) / part)
        (self.folder / ".venv/installed").touch()
        shutil.copytree(repository / "assets", self.folder / "assets", dirs_exist_ok=True)
        self.run(".venv/bin/python -m dvc commit --force assets")

    def serve(self, line: str) -> str:
        """What a server says until it shows its address, and then gets Ctrl-C"""
        with self.start(line) as process:
            deadline = time.monotonic() + LIMIT_SEC
            try:
                while "Compare runs: http" not in self.log.read_text():
                    assert process.poll() is None, self.log.read_text()
                    assert time.monotonic() < deadline, self.log.read_text()
                    time.sleep(0.2)
            finally:
                os.killpg(process.pid, signal.SIGINT)
        return self.log.read_text()


def test_the_quick_start_runs_line_by_line(tmp_path: Path, repository: Path) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", UI_PORT)) == 0:
            pytest.skip(f"port {UI_PORT} is taken")
    shell = Shell(tmp_path)
    block = next(block for block in blocks(repository / "README.md") if "git clone" in block.text)
    for line in block.lines:
        command = line.partition(" #")[0].strip().replace("REPOSITORY_URL", str(repository))
        if command.startswith("cd "):
            shell.enter(command.removeprefix("cd "), repository)
        elif command == "make ui":
            assert f"Compare runs: http://127.0.0.1:{UI_PORT}/#/experiments/" in shell.serve(command)
        else:
            said = shell.run(command)
            assert "Traceback" not in said
    assert (shell.folder / "reports/index.html").exists()
    assert len([*(shell.folder / "samples").glob("seed*.png")]) == 10
