"""One picture at a time: is it fit for the archive, and what does it become there.

A picture comes as the bytes of an image file, or as uint8 [H, W] or [H, W, C] from a container of raw pixels.
"""

import hashlib
import io
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from stylegan.config import PrepareConfig

Pixels: TypeAlias = NDArray[np.uint8]
KEPT_MODES = ("L", "RGB", "RGBA")
CONVERTIBLE_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa")
FILTERS = {"box": Image.Resampling.BOX, "lanczos": Image.Resampling.LANCZOS}


@dataclass(frozen=True)
class Check:
    """What was found in a picture; `reason` says why it cannot be used, and what to do."""

    sha256: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    reason: str | None = None


def check_image(data: bytes | Pixels, config: PrepareConfig) -> Check:
    """Decode a picture completely and say whether the archive can take it."""
    digest = hashlib.sha256(data if isinstance(data, bytes) else data.tobytes()).hexdigest()
    try:
        with _open(data) as image:
            reason = _frames_problem(image) or _depth_problem(image)
            image.load()
            width, height = ImageOps.exif_transpose(image).size
            reason = reason or _mode_problem(image, config) or _size_problem(width, height, config)
            return Check(digest, width, height, image.mode, reason)
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        return Check(digest, reason=f"cannot be decoded ({_first_line(error)}); replace or remove it")


def convert_image(data: bytes | Pixels, config: PrepareConfig, mode: str) -> bytes:
    """Picture -> PNG of the asked mode and size, the same bytes on every machine (pixels stored, no metadata).

    Turned as its EXIF orientation says. Transparent pixels are laid over white when the mode has no alpha.
    """
    with _open(data) as image:
        upright = ImageOps.exif_transpose(image)
    fitted = _fit(_to_mode(upright, mode), config)
    fitted.info = {}  # colour profile and text would be written too
    buffer = io.BytesIO()
    fitted.save(buffer, format="png", compress_level=0)  # what compression yields differs between zlib builds
    return buffer.getvalue()


def _open(data: bytes | Pixels) -> Image.Image:
    return Image.open(io.BytesIO(data)) if isinstance(data, bytes) else Image.fromarray(data)


def _first_line(error: Exception) -> str:
    # Pillow names the in-memory buffer, which says nothing to anyone.
    text = str(error).partition("\n")[0]
    return "not an image file" if "cannot identify image file" in text else text or type(error).__name__


def _frames_problem(image: Image.Image) -> str | None:
    # Cameras store a preview beside the photograph (MPO); that is not an animation.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    return f"is animated or has pages ({frames} frames); save the frame you want as a file" if frames > 1 else None


def _depth_problem(image: Image.Image) -> str | None:
    # Pillow reads 16-bit colour into 8-bit modes in silence; only its raw mode tells.
    deep = image.mode.startswith(("I", "F")) or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    return "has more than 8 bits per channel; save it with 8" if deep else None


def _mode_problem(image: Image.Image, config: PrepareConfig) -> str | None:
    if image.mode not in CONVERTIBLE_MODES:
        return f"is {image.mode}, whose colours depend on a profile; save it as RGB"
    if config.mode == "keep" and image.mode not in KEPT_MODES:
        return f"is {image.mode}, which prepare.mode keep cannot keep; set prepare.mode to L, RGB or RGBA"
    return None


def _size_problem(width: int, height: int, config: PrepareConfig) -> str | None:
    if config.transform == "none" and width != height:
        return f"is {width} x {height}, not square; set prepare.transform to center-crop"
    if config.transform == "center-crop-wide":
        wide, high = _wide_window(width, height)
        if wide < config.resolution or high < config.resolution * 3 // 4:
            need = f"{config.resolution} x {config.resolution * 3 // 4}"
            return f"is {width} x {height}; center-crop-wide needs at least {need}; lower prepare.resolution"
    return None


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    has_alpha = "A" in image.mode.upper() or "transparency" in image.info
    if has_alpha and mode != "RGBA":
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    return image if image.mode == mode else image.convert(mode)


def _fit(image: Image.Image, config: PrepareConfig) -> Image.Image:
    """Crop and resize to a square of config.resolution."""
    side, resample = config.resolution, FILTERS[config.resize_filter]
    if config.transform == "center-crop-wide":
        strip = _center(image, *_wide_window(*image.size)).resize((side, side * 3 // 4), resample)
        square = Image.new(image.mode, (side, side), "black")
        square.paste(strip, (0, (side - strip.height) // 2))
        return square
    if config.transform == "center-crop":
        image = _center(image, min(image.size), min(image.size))
    return image if image.size == (side, side) else image.resize((side, side), resample)


def _wide_window(width: int, height: int) -> tuple[int, int]:
    """Largest 4:3 window, the shape of the papers' LSUN Car (512 x 384)"""
    return min(width, round(height * 4 / 3)), min(height, round(width * 3 / 4))


def _center(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
