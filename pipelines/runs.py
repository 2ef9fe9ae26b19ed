"""A run beside the main chain (trial of a sweep, row of a ladder): in runs/<fingerprint>/, found again when finished.

The exported generator lies in models/ of the run's folder, its measurements in evaluations/<hash of how and of what>/.
"""

import json
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipelines import evaluation
from pipelines.params import Params, fingerprint
from pipelines.snapshots import GENERATOR
from stylegan.checkpoint import load_generator
from stylegan.files import sha256_of

PREDECESSOR_SEC = 120.0  # that the processes of a killed trial or row may outlive it


def is_finished(folder: Path) -> bool:
    """Whether the run has exported its generator"""
    return (folder / "models" / "train.json").exists()


def trained_of(folder: Path) -> dict[str, Any]:
    """The training record (schema in pipelines/train.py) of a finished run"""
    value: dict[str, Any] = json.loads((folder / "models" / "train.json").read_text())
    return value


def await_predecessor(folder: Path) -> None:
    """Wait until the same run of a killed process is gone; it outlives it by some seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "driver.lock", timeout=PREDECESSOR_SEC):
        pass


def evaluated(params: Params, folder: Path, root: Path, state: Path) -> Path:
    """Folder with the reports (schema in pipelines/evaluate.py) on the run's generator, which is measured once

    root: of the archive and the weights; statistics of real images are kept below `state`, which is runs/.
    """
    generator = folder / "models" / GENERATOR
    digest, trained = sha256_of(generator), trained_of(folder)
    where = folder / "evaluations" / fingerprint(params, digest, sections=["evaluate"])
    if not (where / "metrics.json").exists():
        G = load_generator(generator)
        dataset = evaluation.open_dataset(root / "data" / "archive.zip", G)
        facts = {"generator_sha256": digest, "cur_nimg": trained["cur_nimg"]}
        subject = evaluation.Subject(G, trained["seed"], facts)
        where.mkdir(parents=True, exist_ok=True)
        evaluation.measure(params, subject, dataset, root / "assets", state / "features", where)
    return where
