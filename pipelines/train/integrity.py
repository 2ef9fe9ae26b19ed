"""Checksums of the files of a checkpoint: damage is found before anything is read from it, and named."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from ray.train import Checkpoint

from pipelines.cluster.store import shown
from stylegan.files import IrregularFileError, check_regular, sha256_of, write_json
from stylegan.tensor_files import CheckpointError
from stylegan.text import shorten, visible

CHECKSUMS = "checksums.json"  # in every checkpoint: sha256 of each other file by its name
MAX_NAME = 255  # characters of a file's name
# What reading a damaged file raises. Other errors of the system, such as too many open files, say nothing of the file.
UNREADABLE = (CheckpointError, FileNotFoundError, IrregularFileError, ValueError, RecursionError)


class DamagedError(RuntimeError):
    """The checkpoint that Ray registered last is damaged; every rank raises it, and Ray must not try it again."""

    def __init__(self, damaged: "Damaged") -> None:
        super().__init__(damaged.problem)
        self.damaged = damaged


@dataclass(frozen=True)
class Damaged:
    """A checkpoint that cannot be used."""

    name: str  # of its folder
    problem: str  # begins with the path of the file
    is_origin: bool = False  # it is another run's, with which this one begins


def seal(folder: Path) -> None:
    """Write the checksums of all files of a checkpoint."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != CHECKSUMS)
    write_json(folder / CHECKSUMS, {path.name: sha256_of(path) for path in files})


def check(folder: Path) -> None:
    """Compare the files of a checkpoint with its checksums; those of earlier versions have none.

    Raises CheckpointError that names the first file that is damaged or missing.
    """
    path = folder / CHECKSUMS
    check_regular(path)
    if not path.exists():
        return
    try:
        sums = TypeAdapter(dict[str, str]).validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{path}: not a list of checksums ({error.errors()[0]['msg']}).") from None
    for name, digest in sums.items():
        if Path(name).name != name or len(name) > MAX_NAME:
            raise CheckpointError(f"{path}: {shorten(repr(name), 100)} is not a file of a checkpoint.")
        if not (file := folder / name).is_file():
            raise CheckpointError(f"{file}: missing.")
        if sha256_of(file) != digest:
            raise CheckpointError(f"{file}: damaged: its content is not what {CHECKSUMS} says.")


def describe(checkpoint: Checkpoint, folder: str, error: Exception) -> Damaged:
    """What is wrong with a checkpoint, on one line, with its own path where it was read from a copy in `folder`"""
    first = shorten(visible(next(iter(str(error).splitlines()), type(error).__name__)), 1000)
    problem = first.replace(folder, shown(checkpoint.path))
    if not problem.startswith(shown(checkpoint.path)):
        problem = f"{shown(checkpoint.path)}: {problem}"
    return Damaged(Path(checkpoint.path).name, problem)
