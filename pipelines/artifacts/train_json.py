"""models/train.json, in the work tree or in the folder of a run: what was trained, and which snapshot was exported."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from pipelines.artifacts.workspace import TRAINED
from stylegan.config.strict import Section
from stylegan.files import write_json


class Transfer(Section):
    """The networks that training started from."""

    file: str  # as train.resume_from names it
    sha256: str
    report: dict[str, Any]  # every tensor loaded, adapted, initialised or skipped, with the reason


class TrainRecord(Section):
    """Content of train.json."""

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


def read(folder: Path) -> TrainRecord:
    """The training record below a work tree or a run

    Raises FileNotFoundError, or ValueError for a file that is none, with the remedy.
    """
    path = folder / TRAINED
    if not path.exists():
        raise FileNotFoundError(f"{path}: not there. Run `dvc repro train`, which writes it.")
    try:
        return TrainRecord.model_validate(json.loads(path.read_text()))
    except (ValidationError, json.JSONDecodeError) as error:
        problem = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        place = ".".join(map(str, problem["loc"]))
        raise ValueError(
            f"{path}: not a training record: {place}{': ' if place else ''}{problem['msg']}. Run `dvc repro --force "
            "train`, which writes it again."
        ) from None


def write(folder: Path, record: TrainRecord) -> None:
    """Write the training record below a work tree or a run."""
    write_json(folder / TRAINED, record.model_dump(mode="json"))
