"""The beginning of a run: its images, and fresh networks or those of a file in pretrained/ as far as they fit."""

import os
from pathlib import Path

import torch

from pipelines.artifacts.dataset import open_dataset
from pipelines.artifacts.transfer_json import Transfer, TransferReport
from pipelines.params import Params
from stylegan.checkpoint import load_networks
from stylegan.config import ConfigError, colour_problems, count_problems
from stylegan.config.sections import DataConfig
from stylegan.data import ArchiveError, ImageDataset
from stylegan.files import sha256_of
from stylegan.state import TrainState
from stylegan.text import print_lines
from stylegan.transfer import Report, transfer

FOLDER = "pretrained"  # a dependency of stage train


def open_training_set(archive: Path, params: Params) -> ImageDataset:
    """The train split as the parameters ask for it

    Raises ConfigError if its channels or its split are not what the augmentations need, or it has too few images for
    what will be measured.
    """
    data = params.data
    dataset = open_dataset(archive, use_labels=data.use_labels, xflip=data.xflip, max_images=data.max_images)
    problems = [*colour_problems(params, dataset.channels), *count_problems(params, count_images(dataset, data))]
    if params.augment.mode == "ada_rv" and not has_holdout(dataset):
        problems.append(
            f"augment.mode is ada_rv, which compares training images with held-out ones, but {archive} holds none out. "
            "Prepare it with a higher prepare.holdout_fraction, or set augment.mode to ada."
        )
    if problems:
        raise ConfigError("\n".join(problems))
    return dataset


def count_images(dataset: ImageDataset, config: DataConfig) -> int:
    """How many images the archive has to train on, of which the dataset may be a subset"""
    whole = dataset if config.max_images is None else open_dataset(dataset.path, use_labels=False)
    return whole.num_images


def has_holdout(dataset: ImageDataset) -> bool:
    """Whether the archive holds images out"""
    try:
        dataset.holdout()
    except ArchiveError:
        return False
    return True


def pretrained_file(params: Params, root: Path) -> Path | None:
    """The file that train.resume_from names.

    Raises FileNotFoundError if it is not there, ConfigError when it is where DVC would not see it change, or a
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
            f"train.resume_from is {name}, but this file does not exist. Put it there (see {FOLDER}/README.md), or "
            "set train.resume_from to null to start from scratch."
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
    print_lines(*report.lines())
    return Transfer(
        file=str(params.train.resume_from), sha256=sha256_of(pretrained), report=TransferReport(**report.as_json())
    )
