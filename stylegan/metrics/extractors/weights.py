"""Public weight files of the networks that published metrics are defined with: which they are, and where they may lie.

Nothing here fetches a file; `make weights-standard` does, when a person asks for it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from stylegan.files import sha256_of
from stylegan.metrics.arrays import MetricError

FOLDER = "weights"  # beside assets/; a dependency of stage evaluate
VARIABLE = "STYLEGAN_WEIGHTS"
FETCH = "make weights-standard"


@dataclass(frozen=True)
class WeightFile:
    """One public file, known by its sha256 whatever it is called."""

    names: tuple[str, ...]  # that it is published under
    sha256: str
    url: str
    licence: str


# pytorch-fid and torch-fidelity publish the same bytes under two names.
INCEPTION_STATE = WeightFile(
    names=("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth"),
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    licence="Apache-2.0 (Google's Inception-v3 of 2015-12-05, converted by pytorch-fid)",
)
INCEPTION_SCRIPT = WeightFile(
    names=("inception-2015-12-05.pt",),
    sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    url="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    licence="Apache-2.0 (Google's Inception-v3 of 2015-12-05); NVIDIA states no licence of its conversion",
)
VGG16_SCRIPT = WeightFile(
    names=("vgg16.pt",),
    sha256="b437eb095feaeb0b83eb3fa11200ebca4548ee39a07fb944a417ddc516cc07c3",
    url="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/vgg16.pt",
    licence="CC BY 4.0 (Oxford's VGG16), BSD-2-Clause (LPIPS heads); NVIDIA states no licence of its conversion",
)


def places(assets: Path) -> list[Path]:
    """Folders that are looked at, in order: $STYLEGAN_WEIGHTS, weights/ beside assets/, the cache of torch.hub"""
    named = [Path(os.environ[VARIABLE])] if os.environ.get(VARIABLE) else []
    return [*named, assets.parent / FOLDER, Path(torch.hub.get_dir()) / "checkpoints"]


def find_weights(what: str, wanted: Sequence[WeightFile], assets: Path, *, remedy: str) -> tuple[Path, WeightFile]:
    """The first wanted file that is there, its sha256 checked, and which it is.

    Raises FileNotFoundError if no place has one, MetricError for a file of that name with other content.
    """
    for folder in places(assets):
        for file in wanted:
            for name in file.names:
                if (folder / name).is_file():
                    check(folder / name, file)
                    return folder / name, file
    files = " or ".join(f"{name} (sha256 {file.sha256})" for file in wanted for name in file.names[:1])
    looked = ", ".join(map(str, places(assets)))
    raise FileNotFoundError(
        f"no weights of {what}: {files} is in none of {looked}. Run `{FETCH}`, which needs internet, or put the file "
        f"there, or name its folder in {VARIABLE}, or {remedy}."
    )


def check(path: Path, file: WeightFile) -> None:
    """Raise MetricError unless the file at path is the public one."""
    digest = sha256_of(path)
    if digest != file.sha256:
        raise MetricError(
            f"{path}: sha256 is {digest}, expected {file.sha256}. This is not the public file of that name, or only "
            f"part of it: delete it and run `{FETCH}`."
        )
