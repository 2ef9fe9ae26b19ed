"""models/train.json, in the work tree or in the folder of a run:

fingerprint       name of the run: hash of the parameters, the archive, the networks it starts from and the code
                  that decide its weights, and of the network that chooses its best snapshot
archive_sha256    of data/archive.zip
resume_from       null, or file, sha256 and report of the networks that training started from: every tensor loaded,
                  adapted, initialised or skipped, with the reason
snapshot          best or last: which one is the generator (monitor.export)
cur_nimg          real images shown to D until that snapshot
trained_nimg      real images shown to D until the end of the run
seed              train.seed
"""

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
