"""A trial of population based training as a chain: what each segment left, and where Tune's checkpoint points."""

from pathlib import Path
from typing import ClassVar, Literal

from pipelines.artifacts import artifact
from pipelines.artifacts.artifact import Artifact
from pipelines.artifacts.ticks import TickRow

DONE = "done.json"  # of a finished segment, in its folder
POINTER = "pointer.json"  # what Tune keeps as a checkpoint


class Segment(Artifact):
    """A finished segment."""

    noun: ClassVar = "a finished segment"
    command: ClassVar = "make sweep"

    version: Literal[1] = 1
    row: TickRow  # the last
    checkpoint: str  # address of the state at its end
    began_with: str | None  # address of the state at its beginning


class Pointer(Artifact):
    """Where the state of a trial is."""

    noun: ClassVar = "a pointer to a training state"
    command: ClassVar = "make sweep"

    version: Literal[1] = 1
    nimg: int
    url: str


def read_segment(folder: Path) -> Segment:
    """Raises ArtifactError."""
    return artifact.read(Segment, folder / DONE, artifact.IN_RUNS)


def write_segment(folder: Path, segment: Segment) -> None:
    """Mark a segment as finished."""
    artifact.write(folder / DONE, segment)


def read_pointer(folder: Path) -> Pointer:
    """Raises ArtifactError."""
    return artifact.read(Pointer, folder / POINTER)


def write_pointer(folder: Path, pointer: Pointer) -> None:
    """Write what Tune keeps as a checkpoint."""
    artifact.write(folder / POINTER, pointer)
