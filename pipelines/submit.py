"""Run the pipeline on a cluster, from its head: check it, `dvc repro ARGUMENTS`, publish to MLflow.

    ray submit infra/ray/on-prem.yaml pipelines/submit.py -- ARGUMENTS
    ray job submit -- python /mnt/stylegan/project/pipelines/submit.py ARGUMENTS       survives a lost connection

and the entrypoint of infra/kuberay/rayjob.yaml. `ray submit` copies this file away from its project and runs the copy,
so it imports nothing from the project. After a failure, the same command continues where the last one stopped.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

import psutil


def project() -> Path:
    """The work tree: $STYLEGAN_PROJECT, which infra/ray/setup.sh sets, else where this file lies. Exits without one."""
    folder = Path(os.environ.get("STYLEGAN_PROJECT") or Path(__file__).resolve().parent.parent)
    if not (folder / "dvc.yaml").exists():
        sys.exit(
            f"submit: {folder}: holds no dvc.yaml. Set STYLEGAN_PROJECT to the folder of the project on this machine; "
            "`ray up infra/ray/on-prem.yaml` does."
        )
    return folder


def environment() -> dict[str, str]:
    """Stages start `python`, which has to be this one, and join the cluster that this machine is part of."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    quiet = {"DVC_NO_ANALYTICS": "true", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONUNBUFFERED": "1"}
    return {"RAY_ADDRESS": "auto"} | os.environ | quiet | {"PATH": path}


def run(folder: Path, *module: str) -> int:
    """`python -m MODULE...` in the project, its output streamed  ->  exit status"""
    with subprocess.Popen([sys.executable, "-m", *module], cwd=folder, env=environment()) as process:
        return process.wait()


class Signals:
    """Leaves the end to what runs below, which saves its state: Ctrl-C reaches it by itself, SIGTERM is passed on."""

    def __init__(self) -> None:
        self.received: int | None = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        if number == signal.SIGTERM:
            for child in psutil.Process().children(recursive=True):
                try:
                    child.terminate()
                except psutil.NoSuchProcess:
                    continue


def has_git(folder: Path) -> bool:
    """Whether git works here; an image holds no repository, and git refuses one that belongs to another user"""
    if not shutil.which("git"):
        return False
    question = ["git", "-C", str(folder), "rev-parse", "--git-dir"]
    return subprocess.run(question, check=False, capture_output=True).returncode == 0


def main(arguments: list[str]) -> int:
    """Returns the exit status: that of the check, else of `dvc repro`; 130 or 143 after a signal."""
    if {"-h", "--help"} & set(arguments):
        print((__doc__ or "").rstrip())
        return 0
    folder, signals = project(), Signals()
    if not has_git(folder):
        run(folder, "dvc", "config", "--quiet", "--local", "core.no_scm", "true")
    if status := run(folder, "pipelines.cluster", "check"):
        return status
    status = run(folder, "dvc", "repro", *arguments)
    if signals.received is not None:
        print("Stopped. To continue, submit the same job again.", file=sys.stderr)
        return 128 + signals.received
    if run(folder, "pipelines.tracking", "publish"):  # what a failed run measured is published too
        print("Not everything reached the tracking server; nothing is lost, the next run sends it.", file=sys.stderr)
    if status == 0:
        print(f"Report: {folder}/reports/index.html on this machine. `make fetch-report` brings it to yours.")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
