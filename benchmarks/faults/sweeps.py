"""A sweep in a folder of its own: its command and the processes of its trials are killed."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from benchmarks.faults.project import Project, digest, is_titled, numbers_of
from pipelines.artifacts import sweep_json

COMMAND = [sys.executable, "-m", "pipelines.sweep"]
TRIAL = "ImplicitFunc"  # in the titles that Ray gives to processes
SWEEP = (
    "sweep.space=[{parameter: train.g_lr, draw: grid, values: [0.002, 0.0025]}, "
    "{parameter: evaluate.truncation_psi, draw: grid, values: [0.5, 1.0]}]",
    "sweep.searcher=grid", "sweep.scheduler=none", "sweep.max_concurrent_trials=2", "sweep.workers_per_trial=1",
    "sweep.cpus_per_worker=1.0", "sweep.gpus_per_worker=0.0", "sweep.total_kimg=0.48", "evaluate.metrics=[kid, pr]",
)  # fmt: skip


class SweepProject(Project):
    """Two trials at once, each measured at two psi."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, SWEEP, COMMAND)

    def strike(self, kind: str, process: "subprocess.Popen[str]") -> bool:
        """SIGKILL the command, or the process of the trial that began last; False when there is nothing yet"""
        command = psutil.Process(process.pid)
        if kind == "sweep":
            if not any((self.folder / "runs").glob("*/driver.lock")):
                return False
            command.kill()
            return True
        trials = [child for child in command.children(recursive=True) if is_titled(TRIAL, child)]
        if trials:
            max(trials, key=lambda trial: trial.create_time()).kill()
        return bool(trials)

    def outcome(self) -> dict[str, Any]:
        """The results of the sweep, and the state, generator and numbers of every trial"""
        runs = sorted(lock.parent for lock in self.folder.glob("runs/*/driver.lock"))
        (nimg,) = {max(int(path.name.removeprefix("nimg_")) for path in run.glob("checkpoints/nimg_*")) for run in runs}
        found = {}
        for run in runs:
            state = run / "checkpoints" / f"nimg_{nimg:09d}" / "state.safetensors"
            found[run.name] = (digest(state), numbers_of(run))
        results = sweep_json.read(self.folder / "reports" / "sweep")
        told = hashlib.sha256(results.model_dump_json().encode()).hexdigest()
        return {"results": told, "num_ticks": sum(len(rows) for _, rows in found.values()), "runs": found}
