"""Image files as the targets of a projection: any size, depth and mode, made to fit the generator, or refused.

C channels, H W image.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from stylegan.config.modes import MODES
from stylegan.config.pyramid import sides
from stylegan.data.archive import is_picture
from stylegan.data.decoders import open_image, read_whole, too_many_pixels, undecodable
from stylegan.data.files import list_folder
from stylegan.data.limits import MAX_PIXELS_HEAVY
from stylegan.data.problems import ProblemError
from stylegan.data.transforms import crop_to_shape, find_weight_problem, to_mode
from stylegan.files import open_regular
from stylegan.networks import Generator


@dataclass(frozen=True)
class Target:
    """An image as the generator would draw it."""

    path: Path
    img: Tensor  # uint8 [C, H, W]
    note: str  # what was done to it, for people; empty when nothing


def list_files(targets: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The files named, and for a folder all images in it and below, by their names  -> them, and what was passed over

    Raises ValueError for a folder without any.
    """
    files: list[Path] = []
    notes: list[str] = []
    for target in targets:
        if not target.is_dir():
            files.append(target)
            continue
        found, passed_over = list_pictures(target)
        if not found:
            raise ValueError(
                f"{target}: no image in this folder or below. Give image files, or a folder that holds some."
            )
        files += found
        notes += passed_over
    return files, notes


def list_pictures(folder: Path) -> tuple[list[Path], list[str]]:
    """All images in a folder and below, by their names, and lines on folders that are not used"""
    found = list_folder(folder)
    files = sorted(folder / name for name in found.names if is_picture(name))
    return files, [f"{file.source}: {file.problem.reason}." for file in (*found.bad, *found.passed_over)]


def load_targets(files: Sequence[Path], G: Generator) -> tuple[list[Target], list[str]]:
    """-> the images that can be read, and the reason for each of the others

    Raises ValueError if none can, and for a generator whose images have no PNG mode.
    """
    _mode_of(G)
    good, reasons = [], []
    for path in files:
        try:
            good.append(load_target(path, G))
        except (OSError, ValueError) as error:
            reasons.append(str(error))
    if not good:
        more = f" (and {len(reasons) - 1} more files, none of which can be read)" if len(reasons) > 1 else ""
        raise ValueError(f"{reasons[0]}{more}")
    return good, reasons


def load_target(path: Path, G: Generator) -> Target:
    """An image file in the generator's size and channels. Raises FileNotFoundError, and ValueError with the reason."""
    img, note = fit_image(_decode(path, _mode_of(G)), str(path), G)
    return Target(path, img, note)


def fit_image(image: Image.Image, name: str, G: Generator) -> tuple[Tensor, str]:
    """An image in the generator's size and channels  ->  uint8 [C, H, W], and what was done to it, for people

    Raises ValueError that begins with the name, if its numbers are in no range that images have.
    """
    height, width = sides(G.img_resolution)
    image, note = _to_eight_bits(image, name)
    image = to_mode(image, _mode_of(G))
    if image.size != (width, height):
        note += f"{name}: {image.width} x {image.height} cut to the centre, now {width} x {height}"
        # Cropped first: a resize of part of an image would let in pixels around it.
        image = crop_to_shape(image, width, height).resize((width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image).reshape(height, width, -1)).permute(2, 0, 1).contiguous(), note


def _mode_of(G: Generator) -> str:
    if G.img_channels not in MODES:
        raise ValueError(
            f"this generator draws images of {G.img_channels} channels. Projection needs a generator of 1 to 4 "
            "channels, as image files have."
        )
    return MODES[G.img_channels]


def _decode(path: Path, mode: str) -> Image.Image:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file. Give an image file, or a folder of images.")
    with _explained(str(path)), open_regular(path) as file:
        data = read_whole(file)
    return _decode_content(data, str(path), mode)


def read_image(data: bytes, name: str, G: Generator) -> tuple[Tensor, str]:
    """The content of an image file, as `fit_image`. Raises ValueError that begins with the name and has the reason."""
    return fit_image(_decode_content(data, name, _mode_of(G)), name, G)


def _decode_content(data: bytes, name: str, mode: str) -> Image.Image:
    with _explained(name), open_image(data) as image:
        if problem := find_weight_problem(image, mode):
            raise ProblemError(problem)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)  # of a large image there is room for one
        return image


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Raises ValueError with the name and the reason for whatever goes wrong inside."""
    try:
        yield
        return
    except ProblemError as error:
        problem = error.problem
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        problem = undecodable(error)
    raise ValueError(f"{name}: {problem.reason}.")


def _to_eight_bits(image: Image.Image, name: str) -> tuple[Image.Image, str]:
    """Grey of 16 bits, whole numbers or floats in the range of 8 bits, and a note on the range that was taken

    Raises ValueError for numbers in no range that images have.
    """
    if not image.mode.startswith(("I", "F")):
        return image, ""
    if image.width * image.height > MAX_PIXELS_HEAVY:
        problem = too_many_pixels(f"{image.width} x {image.height} of more than 8 bits", MAX_PIXELS_HEAVY)
        raise ValueError(f"{name}: {problem.reason}.")
    values = np.asarray(image, np.float64)
    low, high = float(values.min()), float(values.max())  # NaN if one is
    if image.mode.startswith("I;16"):
        top = 65535.0
    else:
        ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        top = next((each for each in ranges if high <= each), 0.0)
    if not (low >= 0 and top):
        raise ValueError(
            f"{name}: pixels from {low:g} to {high:g}. Expected 0 to 1, 0 to 255 or 0 to 65535; save it with 8 bits."
        )
    shown = Image.fromarray((values * (255 / top)).round().astype(np.uint8))
    return shown, f"{name}: pixels of mode {image.mode} read as 0 (black) to {top:g} (white)\n"
