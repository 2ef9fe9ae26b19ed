"""One image at a time: is it fit for the archive, and what does it become there.

An image comes as the bytes of an image or .npy file, or as uint8 [H, W] or [H, W, C] from a container of raw pixels.
Up to four channels it is Pillow's affair; with more it stays an array, of which every channel is resized alone.
"""

import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np
from PIL import Image, ImageCms, ImageOps, features

from stylegan.config.modes import CHANNELS
from stylegan.config.pyramid import sides
from stylegan.config.sections import PrepareConfig
from stylegan.data.arrays import Pixels, decode_array, encode_array, is_array, mode_of
from stylegan.data.decoders import HEAD_BYTES, open_header, open_image, read_whole, too_many_pixels, undecodable
from stylegan.data.problems import Problem, ProblemError

CONVERTIBLE_MODES = ("1", "CMYK", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa")
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # the tag of EXIF, and its values that swap width and height
PIXELS_AT_ONCE = 100_000_000  # of images that are decoded at the same time: about a gigabyte
# Of an image with alpha or inks, whose RGB is made by way of two or three others, of a JPEG in many
# scans, and of AVIF and HEIF, which are decoded to YUV first.
MAX_PIXELS_BLENDED = 50_000_000
MAX_VALUES = 100_000_000  # of an .npy array: every channel is resized alone
FILTERS = {"box": Image.Resampling.BOX, "lanczos": Image.Resampling.LANCZOS}


@dataclass(frozen=True)
class Check:
    """What was found in an image; `problem` says why it cannot be used, and what to do."""

    sha256: str = ""
    width: int = 0
    height: int = 0
    mode: str = ""
    problem: Problem | None = None
    pixels: bytes = b""  # digest of what the archive would hold: equal for copies, whatever their files are


def check_image(data: bytes | Pixels, config: PrepareConfig) -> Check:
    """Decode an image completely and say whether the archive can take it."""
    digest = hashlib.sha256(data if isinstance(data, bytes) else data.tobytes()).hexdigest()
    try:
        opened = _open(data)
        if isinstance(opened, np.ndarray):
            return _check_array(opened, digest, config)
        with opened as image, ROOM.take(image):
            if problem := _frames_problem(image) or _depth_problem(image) or find_weight_problem(image, config.mode):
                # Not decoded: its frames may be many, and its samples wide.
                return Check(digest, image.width, image.height, image.mode, problem)
            ImageOps.exif_transpose(image, in_place=True)
            problem = _mode_problem(image, config) or find_size_problem(image.width, image.height, config)
            pixels = b"" if problem else _digest(_convert(image, config, config.mode))
            return Check(digest, image.width, image.height, image.mode, problem, pixels)
    except ProblemError as error:
        return Check(digest, problem=error.problem)
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        return Check(digest, problem=undecodable(error))


def check_header(file: IO[bytes], config: PrepareConfig) -> Check:
    """What the first bytes of an image file tell: its size once it is upright, its mode, and problems seen from there

    A mode with transparency ends in A, also that of a palette.
    """
    try:
        head = file.read(HEAD_BYTES)
        file.seek(0)
        if is_array(head):
            return check_image(read_whole(file), config)
        with open_header(file) as image:
            width, height = image.size
            # Not image.getexif(), for which Pillow decodes the whole of a PNG.
            if Image.Image.getexif(image).get(ORIENTATION) in SIDEWAYS:
                width, height = height, width
            problem = _frames_problem(image) or _depth_problem(image) or find_weight_problem(image, config.mode)
            problem = problem or _mode_problem(image, config)
            mode = image.mode + "A" * ("transparency" in image.info and "A" not in image.mode.upper())
            return Check("", width, height, mode, problem or find_size_problem(width, height, config))
    except ProblemError as error:
        return Check(problem=error.problem)
    except Exception as error:  # as above
        return Check(problem=undecodable(error))


def convert_image(data: bytes | Pixels, config: PrepareConfig, mode: str) -> bytes:
    """Image -> PNG of the asked mode and size, the same bytes on every machine (pixels stored, no metadata).

    Turned as its EXIF orientation says. Transparent pixels are laid over white when the mode has no alpha.
    An image of more than four channels becomes a .npy file.
    """
    opened = _open(data)
    if isinstance(opened, np.ndarray):
        return encode_array(_fit_array(opened, config))
    with opened as image, ROOM.take(image):
        ImageOps.exif_transpose(image, in_place=True)
        fitted = _convert(image, config, mode)
    fitted.info = {}  # colour profile and text would be written too
    buffer = io.BytesIO()
    fitted.save(buffer, format="png", compress_level=0)  # what compression yields differs between zlib builds
    return buffer.getvalue()


def _convert(image: Image.Image, config: PrepareConfig, mode: str) -> Image.Image:
    """An upright image as the archive holds it; the mode keep is its own"""
    return _fit(image if mode == "keep" else to_mode(image, mode), config)


def _digest(image: Image.Image) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()


class _Room:
    """Lets threads decode images at the same time as long as these have no more pixels than PIXELS_AT_ONCE together."""

    def __init__(self) -> None:
        self.changed, self.taken = threading.Condition(), 0

    @contextmanager
    def take(self, image: Image.Image) -> Iterator[None]:
        """Wait for room. An image that is larger than all of it waits until it is alone."""
        size = image.width * image.height
        with self.changed:
            self.changed.wait_for(lambda: not self.taken or self.taken + size <= PIXELS_AT_ONCE)
            self.taken += size
        try:
            yield
        finally:
            with self.changed:
                self.taken -= size
                self.changed.notify_all()


ROOM = _Room()


def _open(data: bytes | Pixels) -> Image.Image | Pixels:
    """An image, or uint8 [H, W, C] of more than four channels"""
    if isinstance(data, bytes) and not is_array(data):
        return open_image(data)
    pixels = decode_array(data) if isinstance(data, bytes) else data
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return Image.fromarray(pixels.reshape(pixels.shape[:2]))
    return Image.fromarray(pixels) if pixels.shape[2] in CHANNELS.values() else pixels


def _check_array(pixels: Pixels, digest: str, config: PrepareConfig) -> Check:
    height, width, channels = pixels.shape
    problem = find_size_problem(width, height, config)
    if config.mode != "keep":
        kind = f"has {channels} channels, prepare.mode {config.mode} does not"
        problem = Problem(kind, "set prepare.mode to keep")
    if pixels.size > MAX_VALUES:
        problem = Problem(f"has more than {MAX_VALUES:,} values", "make it smaller", f"{width} x {height} x {channels}")
    fitted = b"" if problem else hashlib.sha256(_fit_array(pixels, config).tobytes()).digest()
    return Check(digest, width, height, mode_of(channels), problem, fitted)


def _frames_problem(image: Image.Image) -> Problem | None:
    # Cameras store a preview next to the photograph (MPO); that is not an animation.
    if image.format == "MPO" or not getattr(image, "is_animated", False):
        return None
    # GIF and TIFF tell how many only to those who go through all of them, and there can be millions.
    frames = vars(image).get("n_frames", "2 or more")
    return Problem("is animated or has pages", "save the frame you want as a file", f"{frames} frames")


def _depth_problem(image: Image.Image) -> Problem | None:
    # Pillow reads 16-bit colour into 8-bit modes in silence; only its raw mode tells.
    deep = image.mode.startswith(("I", "F")) or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    return Problem("has more than 8 bits per channel", "save it with 8") if deep else None


def find_weight_problem(image: Image.Image, mode: str) -> Problem | None:
    """What keeps a large image, not decoded yet, from becoming one of this mode: several times its memory"""
    what = ""
    if image.info.get("progressive"):
        what = "in a progressive JPEG"
    elif image.format in ("AVIF", "HEIF"):
        what = f"in {image.format}"
    elif mode not in ("keep", image.mode) and (image.mode == "CMYK" or _has_alpha(image)):
        what = "with alpha or inks"
    if not what or image.width * image.height <= MAX_PIXELS_BLENDED:
        return None
    return too_many_pixels(f"{image.width} x {image.height} {what}", MAX_PIXELS_BLENDED)


def _has_alpha(image: Image.Image) -> bool:
    return "A" in image.mode.upper() or "transparency" in image.info


def _mode_problem(image: Image.Image, config: PrepareConfig) -> Problem | None:
    if image.mode not in CONVERTIBLE_MODES:
        return Problem(f"is {image.mode}, whose colours depend on a profile", "save it as RGB")
    if config.mode == "keep" and image.mode not in CHANNELS:
        return Problem(
            f"is {image.mode}, which prepare.mode keep cannot keep", "set prepare.mode to L, LA, RGB or RGBA"
        )
    return None


def find_size_problem(width: int, height: int, config: PrepareConfig) -> Problem | None:
    """What keeps an image of this size, upright, from being fitted to config.resolution"""
    high, wide = sides(config.resolution)
    size = f"{width} x {height}"
    if config.transform == "none" and not has_shape(width, height, wide, high):
        shape = "square" if wide == high else f"of the shape {wide} x {high}"
        return Problem(f"is not {shape}", "set prepare.transform to center-crop", size)
    if config.transform == "center-crop-wide":
        window, high = largest_window(width, height, 4, 3), high * 3 // 4
        if window[0] < wide or window[1] < high:
            need = f"the {wide} x {high} that center-crop-wide needs"
            return Problem(f"is smaller than {need}", "lower prepare.resolution", size)
    return None


def has_shape(width: int, height: int, wide: int, high: int) -> bool:
    """Whether an image has the shape wide : high

    A shape such as 3 : 2 comes in whole pixels, 1024 x 683; less than one pixel off is no other shape.
    """
    return abs(width * high - height * wide) < max(wide, high)


def to_mode(image: Image.Image, mode: str) -> Image.Image:
    """An image of this mode; transparent pixels are laid over white when it has no alpha"""
    if image.mode == "CMYK":
        image = _convert_inks(image)
    if _has_alpha(image) and mode not in ("LA", "RGBA"):
        opaque = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    if mode == "LA":
        image = image.convert("RGBA")  # Pillow converts few others to LA
    return image if image.mode == mode else image.convert(mode)


def _convert_inks(image: Image.Image) -> Image.Image:
    """CMYK -> RGB by the image's colour profile; without one that can be read, as if inks were ideal"""
    profile = image.info.get("icc_profile")
    if profile and features.check("littlecms2"):
        try:
            inks = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, inks, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):  # a damaged profile, or one for other modes
            converted = None
        if converted is not None:
            return converted
    return image.convert("RGB")


def _fit(image: Image.Image, config: PrepareConfig) -> Image.Image:
    """Crop and resize to config.resolution."""
    (high, wide), resample = sides(config.resolution), FILTERS[config.resize_filter]
    if config.transform == "center-crop-wide":
        # The shape of the papers' LSUN Car, 512 x 384.
        strip = _center(image, *largest_window(*image.size, 4, 3)).resize((wide, high * 3 // 4), resample)
        square = Image.new(image.mode, (wide, high), "black")
        square.paste(strip, (0, (high - strip.height) // 2))
        return square
    if config.transform == "center-crop":
        image = crop_to_shape(image, wide, high)
    return image if image.size == (wide, high) else image.resize((wide, high), resample)


def _fit_array(pixels: Pixels, config: PrepareConfig) -> Pixels:
    """As `_fit`, each channel [H, W, C] on its own: alpha means nothing here"""
    channels = [_fit(Image.fromarray(np.ascontiguousarray(channel)), config) for channel in np.moveaxis(pixels, 2, 0)]
    return np.stack([np.asarray(channel) for channel in channels], axis=2)


def largest_window(width: int, height: int, wide: int, high: int) -> tuple[int, int]:
    """Largest window of the shape wide : high, of at least one pixel  -> (width, height)"""
    return max(1, min(width, round(height * wide / high))), max(1, min(height, round(width * high / wide)))


def crop_to_shape(image: Image.Image, wide: int, high: int) -> Image.Image:
    """The middle of an image, in the shape wide : high"""
    return _center(image, *largest_window(*image.size, wide, high))


def _center(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
