"""runs/<name>/run.json: with which parameters, and on which archive, a run was trained last."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.artifacts.artifact import ArtifactError, explain
from stylegan.config.strict import Section
from stylegan.files import check_regular, write_json

RUN = "run.json"


class RunRecord(Section):
    """Content of run.json."""

    archive_sha256: str  # of data/archive.zip
    sections: dict[str, Any]  # of params.yaml: `prepare` and those that stage train reads


def read(folder: Path) -> RunRecord:
    """The record of a run

    Raises FileNotFoundError, or ArtifactError for a file that is none, with the remedy.
    """
    path = folder / RUN
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: file not found. `python -m pipelines.train` writes it when it starts the run."
        )
    check_regular(path)
    try:
        return RunRecord.model_validate(json.loads(path.read_bytes()))
    except ValidationError as error:
        problem = explain(error)
    except (ValueError, RecursionError) as error:
        problem = str(error)
    raise ArtifactError(f"{path}: not a record of a run ({problem}). Start the run again, which writes it.")


def write(folder: Path, record: RunRecord) -> None:
    """Write the record of a run."""
    write_json(folder / RUN, record.model_dump(mode="json"))
