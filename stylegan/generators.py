"""A generator from whatever file a user has, this project's own or an official one, and the class and device meant."""

from collections.abc import Sequence
from pathlib import Path

import torch

from stylegan.checkpoint import load_generator, read_class_names
from stylegan.drawing.generate import class_number
from stylegan.networks import Generator
from stylegan.official import is_official, load_official


def load_any_generator(path: Path) -> tuple[Generator, list[str] | None]:
    """-> (generator for inference, names of its classes if the file has them); of networks, the averaged one.

    What a file is, its content says, not its name. Raises FileNotFoundError, and CheckpointError or OfficialFileError
    (both ValueError).
    """
    if not is_official(path):
        return load_generator(path), read_class_names(path)
    G_ema = load_official(path).G_ema
    assert G_ema is not None, "official files without it are refused"
    return G_ema.requires_grad_(False), None


def class_of(text: str | None, G: Generator, class_names: Sequence[str] | None) -> int | None:
    """Number of the class that --class names, None without it. Raises ValueError as `class_number`."""
    return None if text is None else class_number(text, G.c_dim, class_names)


def usable_device(name: str) -> torch.device:
    """A device that holds tensors here. Raises ValueError otherwise."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{name!r} cannot be used on this machine ({reason}); cpu always can") from None
