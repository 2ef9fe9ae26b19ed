"""The beginning of a run: fresh networks, or those of a file in pretrained/ as far as they fit."""

import os
from pathlib import Path

import torch

from pipelines.artifacts.transfer_json import Transfer, TransferReport
from pipelines.params import Params
from stylegan.checkpoint import load_networks
from stylegan.config import ConfigError
from stylegan.data import ImageDataset
from stylegan.files import sha256_of
from stylegan.state import TrainState
from stylegan.transfer import Report, transfer

FOLDER = "pretrained"  # a dependency of stage train


def pretrained_file(params: Params, root: Path) -> Path | None:
    """The file that train.resume_from names.

    Raises FileNotFoundError when it is not there, ConfigError when it is where DVC would not see it change, or a
    pickle.
    """
    name = params.train.resume_from
    if name is None:
        return None
    inside = Path(os.path.normpath(name))
    if inside.parts[0] != FOLDER:
        raise ConfigError(
            f"train.resume_from is {name}, outside {FOLDER}/, where DVC would not notice that it changed. Copy it to "
            f"{FOLDER}/{inside.name} and set train.resume_from to that."
        )
    if not (root / inside).is_file():
        raise FileNotFoundError(
            f"train.resume_from is {name}, but no such file is there. Put it there (see {FOLDER}/README.md), or set "
            "train.resume_from to null to start fresh."
        )
    if inside.suffix.lower() in (".pkl", ".pickle"):
        raise ConfigError(
            f"train.resume_from is {name}, an official file. Run `python -m stylegan import {name} "
            f"{inside.with_suffix('.safetensors')}`, and set train.resume_from to what that writes."
        )
    return (root / inside).resolve()


def start(
    params: Params, dataset: ImageDataset, pretrained: Path | None, device: torch.device
) -> tuple[TrainState, Report | None]:
    """State at the beginning of a run, and the report of the transfer if it starts from other networks

    Raises ConfigError, CheckpointError.
    """
    state = TrainState.create(
        params, img_resolution=dataset.resolution, img_channels=dataset.channels, c_dim=dataset.c_dim, device=device
    )
    if pretrained is None:
        return state, None
    return state, transfer(state, load_networks(pretrained), params.train.label_transfer)


def rehearse(params: Params, dataset: ImageDataset, pretrained: Path | None) -> Transfer | None:
    """Build the state here before any worker does, so that its errors come at once; print and return the transfer."""
    _, report = start(params, dataset, pretrained, torch.device("cpu"))
    if report is None or pretrained is None:
        return None
    print("\n".join(report.lines()))
    return Transfer(
        file=str(params.train.resume_from), sha256=sha256_of(pretrained), report=TransferReport(**report.as_json())
    )
