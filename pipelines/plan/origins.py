"""Where values of params.yaml may come from when it is planned, each with its origin."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.artifacts.workspace import ARCHIVE
from pipelines.ladders import ladder
from pipelines.params import Params, leaves
from pipelines.yaml_files import read_yaml
from stylegan.config import ConfigError
from stylegan.config.strict import close_to


@dataclass(frozen=True)
class Choice:
    """A value and the reason for it."""

    value: Any
    origin: str


Choices = dict[str, Choice]  # by dotted path, such as train.batch_size


def as_they_are(base: Params) -> Choices:
    """Every value of params.yaml"""
    return {path: Choice(value, "kept") for path, value in leaves(base.model_dump(mode="json"))}


def file_choices(path: Path, base: Params) -> Choices:
    """What a file of sections says, such as the best.yaml of a sweep.

    Raises ConfigError for a file that holds no sections, or a name that is no parameter; FileNotFoundError.
    """
    if not path.exists():
        raise FileNotFoundError(f"--from {path}: no such file. `make sweep` writes reports/sweep/best.yaml.")
    values = read_yaml(path, f"--from {path}", "sections such as `augment:`")
    found, known = dict(leaves(values)), [*as_they_are(base)]
    for name in found.keys() - set(known):
        raise ConfigError(f"--from {path}: {name} is not a parameter; {close_to(name, known)}")
    return {name: Choice(value, f"--from {path}") for name, value in found.items()}


def row_choices(name: str, below: Params) -> Choices:
    """What a row of a ladder (pipelines/ladders/) changes of the parameters below, such as stylegan2/A.

    Raises ConfigError for a ladder or row that there is not; FileNotFoundError where a share of the images is asked for
    and there is no archive to count them in.
    """
    title, _, row = name.partition("/")
    found = ladder.load(title)
    values = found.values(row, below.model_dump(mode="json"), _count_images)
    return {path: Choice(value, f"--row {name}") for path, value in values.items()}


def _count_images() -> int:
    if not ARCHIVE.exists():
        raise FileNotFoundError(f"{ARCHIVE}: no archive to take a share of. Make it with `dvc repro prepare`.")
    return ladder.num_images(ARCHIVE)


def transfer_choices(path: str) -> Choices:
    """Settings for starting from the networks in a file (the published resume mode).

    Raises ConfigError if the file is not there, not in pretrained/, or not yet imported.
    """
    if not Path(path).is_file():
        raise ConfigError(f"--resume-from {path}: no such file. Name one in pretrained/, see pretrained/README.md.")
    if Path(path).parts[0] != "pretrained":
        name = f"pretrained/{Path(path).name}"
        raise ConfigError(f"--resume-from {path}: outside pretrained/. Copy it to {name} and name that.")
    if path.endswith(".pkl"):
        target = Path(path).with_suffix(".safetensors")
        raise ConfigError(
            f"--resume-from {path}: an official file. Run `python -m stylegan import {path} {target}` "
            f"and name {target}."
        )
    return {
        "train.resume_from": Choice(path, "--resume-from"),
        "augment.ada_kimg": Choice(100, "--resume-from: p has to follow faster, 100 kimg instead of 500"),
        "train.ema_rampup": Choice(None, "--resume-from: the average is good from the start"),
    }


def source_of(path: str) -> str:
    """The path without `~`, which DVC would not resolve. Raises ConfigError if the images are not there."""
    if not (expanded := Path(path).expanduser()).exists():
        raise ConfigError(f"--source {path}: not found. Give a folder, a .zip or a dataset file.")
    return str(expanded)
