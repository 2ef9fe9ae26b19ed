"""Images to train on where there are none: patterned tiles, no two alike."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def tile(number: int, size: int) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: waves of two directions in two colours, and a disc"""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[0:size, 0:size] / size
    angle, waves, shift = rng.uniform(0, np.pi, 2), rng.integers(1, 5, 2), rng.uniform(0, 2 * np.pi, 2)
    phases = [2 * np.pi * waves[i] * (x * np.cos(angle[i]) + y * np.sin(angle[i])) + shift[i] for i in range(2)]
    mix = (0.5 + 0.25 * np.sin(phases[0]) + 0.25 * np.sin(phases[1]))[..., None]
    first, second, third = rng.uniform(0, 255, (3, 3))
    colours = first * mix + second * (1 - mix)
    center, radius = rng.uniform(0.25, 0.75, 2), rng.uniform(0.1, 0.25)
    inside = ((x - center[0]) ** 2 + (y - center[1]) ** 2 < radius**2)[..., None]
    pixels: NDArray[np.uint8] = np.where(inside, third, colours).astype(np.uint8)
    return pixels


def write_folder(folder: Path, count: int, size: int) -> None:
    """PNG files of so many tiles"""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:05d}.png").write_bytes(_png(number, size))


def write_zip(path: Path, count: int, size: int) -> None:
    """The same in the layout of official datasets"""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number in range(count):
            archive.writestr(f"00000/img{number:08d}.png", _png(number, size))
        archive.writestr("dataset.json", json.dumps({"labels": None}))


def _png(number: int, size: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(tile(number, size)).save(buffer, format="png", compress_level=1)
    return buffer.getvalue()
