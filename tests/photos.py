"""Photos as people have them: several shapes, modes and orientations in folders of classes, and a few broken files."""

from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "horse")
SHAPES = ((72, 48), (48, 72), (64, 48), (60, 60), (96, 54), (53, 41))  # width, height
MODES = ("RGB",) * 11 + ("CMYK", "L", "L", "RGBA", "P")
EXIF_ORIENTATION = 0x0112
HEIC = bytes([0, 0, 0, 24]) + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(200)  # the beginning of a phone's photo


@dataclass
class Photos:
    """What was written."""

    folder: Path
    good: dict[str, list[str]] = field(default_factory=dict)  # names of the photos that can be used, by class
    bad: dict[str, list[str]] = field(default_factory=dict)  # names of the others, by kind

    @property
    def num_good(self) -> int:
        return sum(map(len, self.good.values()))

    @property
    def num_bad(self) -> int:
        return sum(map(len, self.bad.values()))


def encode(image: Image.Image, suffix: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format={"jpg": "jpeg"}.get(suffix, suffix), **options)
    return buffer.getvalue()


def picture(number: int, width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A smooth pattern that no other number gives"""
    coarse = np.random.default_rng(number).integers(0, 256, (3, 4, 4), np.uint8)
    image = Image.fromarray(coarse, "RGBA").resize((width, height), Image.Resampling.BICUBIC)
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


def good_photo(number: int) -> tuple[str, bytes]:
    """Suffix and bytes: shape, mode and orientation go round at different paces"""
    (width, height), mode = SHAPES[number % len(SHAPES)], MODES[number % len(MODES)]
    image = picture(number, width, height, mode)
    if mode in ("RGBA", "P"):
        return "png", encode(image, "png")
    if number % 7 == 0:
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = 1 + number % 8
        return "JPG", encode(image, "jpg", exif=exif)
    if mode == "CMYK":
        return "jpg", encode(image, "jpg")
    if number % 11 == 0:
        return "webp", encode(image, "webp")
    return ("avif", encode(image, "avif")) if number % 101 == 0 else ("jpg", encode(image, "jpg"))


def animation(number: int) -> bytes:
    frames = [picture(number + frame, 20, 20).convert("L") for frame in (0, 1, 2)]
    return encode(frames[0], "gif", save_all=True, append_images=frames[1:])


BAD: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "truncated": ("jpg", lambda number: encode(picture(number, 72, 48), "jpg")[:600]),
    "text": ("jpg", lambda number: f"no photo {number}".encode()),
    "lab": ("tif", lambda number: encode(Image.new("LAB", (20, 20), (number % 256, 0, 0)), "tiff")),
    "deep": ("png", lambda number: encode(Image.fromarray(np.full((20, 20), number, np.uint16)), "png")),
    "moving": ("gif", animation),
}


def write_photos(folder: Path, num_good: int, num_bad: dict[str, int], classes: tuple[str, ...] = CLASSES) -> Photos:
    """Write that many photos that can be used, and of each kind of others, turn about into a folder for each class."""
    photos = Photos(folder, {name: [] for name in classes}, {kind: [] for kind in num_bad})
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(num_good):
        suffix, data = good_photo(number)
        label = classes[number % len(classes)]
        photos.good[label].append(write(folder / label / f"photo{number:04d}.{suffix}", data))
    for kind, count in num_bad.items():
        suffix, make = BAD[kind]
        for number in range(count):
            label = classes[number % len(classes)]
            photos.bad[kind].append(write(folder / label / f"{kind}{number}.{suffix}", make(10_000 + number)))
    (folder / "notes.txt").write_text("where these photos are from")
    return photos


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)
