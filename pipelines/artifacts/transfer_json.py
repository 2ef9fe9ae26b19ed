"""runs/<fingerprint>/transfer.json: what became of each tensor of the networks that training started from."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Strict

from pipelines.artifacts import artifact
from pipelines.artifacts.artifact import Artifact, Values

FILE = "transfer.json"


class TensorOutcome(Values):
    """What became of one tensor, and why where it was not simply loaded."""

    name: str  # with its network: D.b16.conv0.weight
    action: Literal["loaded", "adapted", "initialised", "skipped"]
    reason: str


class TransferReport(Values):
    """What a transfer did."""

    source: str
    entries: Annotated[tuple[TensorOutcome, ...], Strict(False)]
    p: float | None  # augmentation probability taken from the file


class Transfer(Artifact):
    """The networks that training started from."""

    noun: ClassVar = "the report of a transfer"
    command: ClassVar = "dvc repro train"

    version: Literal[1] = 1
    file: str  # as train.resume_from names it
    sha256: str
    report: TransferReport


def read(folder: Path) -> Transfer:
    """Raises FileNotFoundError, or ArtifactError for another version or a damaged file."""
    return artifact.read(Transfer, folder / FILE)


def write(folder: Path, transfer: Transfer) -> Path:
    """Write the report into the folder of a run, and return where."""
    artifact.write(folder / FILE, transfer)
    return folder / FILE
