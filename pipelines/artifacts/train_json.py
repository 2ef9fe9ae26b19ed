"""models/train.json, in the work tree or in the folder of a run: what was trained, and which snapshot was exported."""

from pathlib import Path
from typing import ClassVar, Literal

from pipelines.artifacts import artifact
from pipelines.artifacts.artifact import Artifact
from pipelines.artifacts.transfer_json import Transfer
from pipelines.artifacts.workspace import TRAINED


class TrainRecord(Artifact):
    """Content of train.json."""

    noun: ClassVar = "a training record"
    command: ClassVar = "dvc repro train"

    version: Literal[1] = 1
    # Name of the run: hash of the parameters, the archive, the networks it starts from and the code that decide its
    # weights, and of the network that chooses its best snapshot.
    fingerprint: str
    archive_sha256: str  # of data/archive.zip
    resume_from: Transfer | None
    snapshot: Literal["best", "last"]  # which one is the generator (monitor.export)
    cur_nimg: int  # real images shown to D until that snapshot
    trained_nimg: int  # real images shown to D until the end of the run
    seed: int  # train.seed


def is_finished(folder: Path) -> bool:
    """Whether the run has exported its generator"""
    return (folder / TRAINED).exists()


def read(folder: Path, remedy: str | None = None) -> TrainRecord:
    """The training record below a work tree or a run

    Raises FileNotFoundError, or ArtifactError for another version or a damaged file, with the remedy.
    """
    return artifact.read(TrainRecord, folder / TRAINED, remedy)


def write(folder: Path, record: TrainRecord) -> None:
    """Write the training record below a work tree or a run."""
    artifact.write(folder / TRAINED, record)
