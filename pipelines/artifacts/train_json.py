"""models/train.json (schema in pipelines/train.py), in the work tree or in the folder of a run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.artifacts.workspace import TRAINED
from stylegan.files import write_json


def is_finished(folder: Path) -> bool:
    """Whether the run has exported its generator"""
    return (folder / TRAINED).exists()


def read(folder: Path) -> dict[str, Any]:
    """The training record below a work tree or of a finished run; there has to be one"""
    value: dict[str, Any] = json.loads((folder / TRAINED).read_text())
    return value


def write(folder: Path, trained: Mapping[str, Any]) -> None:
    """Write the training record below a work tree or a run."""
    write_json(folder / TRAINED, trained)
