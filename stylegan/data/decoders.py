"""The only place that opens image files: by their content, with the one decoder for it, and up to a number of pixels.

Pillow knows some forty formats, and some of them start a program. None of those is reached, whatever a name ends in.
"""

import io
import re
import warnings
from typing import IO

from PIL import Image

from stylegan.data import heif
from stylegan.data.limits import MAX_FILE_BYTES, MAX_PIXELS, MAX_PIXELS_HEAVY, MAX_SCANS, MAX_TEXT_BYTES
from stylegan.data.problems import REPLACE, Problem, ProblemError

# How files of the formats that are read begin; AVIF and HEIF next to them.
SIGNATURES = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "WEBP": rb"RIFF....WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM",
    "TIFF": rb"MM\x00[*+]|II[*+]\x00|MM\*\x00|II\x00\*",
    "PPM": rb"P[1-6fF]\s",
    "JPEG2000": rb"\xffO\xffQ|\x00\x00\x00\x0cjP  \r\n\x87\n",
}
# Of those that are not, the ones that people have.
REFUSED = {
    "PostScript": rb"%!PS|\xc5\xd0\xd3\xc6",
    "PDF": rb"%PDF",
    "Photoshop": rb"8BPS",
    "SVG": rb"(\xef\xbb\xbf)?\s*<(svg|\?xml|!DOCTYPE svg)",
    "an icon": rb"\x00\x00[\x01\x02]\x00[^\x00]|icns",
    "WMF or EMF": rb"\xd7\xcd\xc6\x9a|\x01\x00\x00\x00.{36} EMF",
    "FITS": rb"SIMPLE  =",
    "HDF": rb"\x89HDF|\x0e\x03\x13\x01",
    "GRIB": rb"GRIB",
    "DDS": rb"DDS ",
    "an archive": rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!",
}
TEXT_PPM = rb"P[123]\s"
MAX_PPM_HEADER = 4096  # bytes, with comments
TILE_WIDTH, TILE_LENGTH = 322, 323  # tags of TIFF
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # of JPEG, that ends the coded data of a scan
START_OF_SCAN, END_OF_IMAGE, NO_LENGTH = 0xDA, 0xD9, (0x01, *range(0xD0, 0xD8))
HEAVY = ("JPEG2000", "WEBP")
HEAD_BYTES = heif.HEAD_BYTES

Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow refuses twice as many before it decodes a frame or a part
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # the limit below refuses it
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # names no file, nor what to do


def open_image(data: bytes) -> Image.Image:
    """Open the content of an image file, whose pixels are decoded later. Raises as `open_header`."""
    if data.startswith(b"\xff\xd8") and has_too_many_scans(data):
        raise ProblemError(Problem("has too many scans", "save it anew", f"at most {MAX_SCANS} are read"))
    if len(data) > MAX_TEXT_BYTES and re.match(TEXT_PPM, data):
        raise ProblemError(Problem(f"is a PPM of more than {MAX_TEXT_BYTES:,} bytes of text", "save it as PNG"))
    return open_header(io.BytesIO(data))


def has_too_many_scans(data: bytes) -> bool:
    """Whether a JPEG has more scans than MAX_SCANS up to its end; phones append a video behind it"""
    at, scans = 2, 0
    while (marker := MARKER.search(data, at)) is not None and scans <= MAX_SCANS:
        at, code = marker.end(), marker[0][1]
        if code == END_OF_IMAGE:
            break
        scans += code == START_OF_SCAN
        if code not in NO_LENGTH:
            at += int.from_bytes(data[at : at + 2], "big")  # over what a segment holds, such as a thumbnail
    return scans > MAX_SCANS


def open_header(file: IO[bytes]) -> Image.Image:
    """Open an image file for what its header says.

    Raises ProblemError for a format that is not read, more pixels than MAX_PIXELS, or a header that is damaged.
    """
    head = file.read(MAX_PPM_HEADER)
    file.seek(0)
    if problem := find_format_problem(head) or _find_long_comment(head):
        raise ProblemError(problem)
    try:
        image = Image.open(file, formats=[find_format(head)])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        size = str(error).partition(" exceeds")[0].removeprefix("Image size ").strip("()")
        raise ProblemError(too_many_pixels(size)) from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more
        raise ProblemError(undecodable(error)) from None
    most = MAX_PIXELS_HEAVY if image.format in HEAVY else MAX_PIXELS
    if image.width * image.height > most:
        raise ProblemError(too_many_pixels(f"{image.width} x {image.height}", most))
    if image.format == "TIFF":
        _refuse_large_tiles(image)
    return image


def read_whole(file: IO[bytes], most: int = MAX_FILE_BYTES) -> bytes:
    """The content of an open file. Raises ProblemError if it has more bytes than `most`."""
    size = file.seek(0, io.SEEK_END)
    if size > most:
        raise ProblemError(too_large(most))
    file.seek(0)
    data = file.read(size + 1)
    if len(data) > size:  # a file of the system, whose end nobody knows
        raise ProblemError(Problem("has more bytes than its size says", REPLACE))
    return data


def find_format(head: bytes) -> str:
    """Pillow's name of the format of a file that begins with these bytes; empty if it is not read"""
    if heif.is_avif(head):
        return "AVIF"
    if heif.is_heif(head):
        return "HEIF"
    return next((name for name, pattern in SIGNATURES.items() if re.match(pattern, head, re.DOTALL)), "")


def find_format_problem(head: bytes) -> Problem | None:
    """What keeps a file that begins with these bytes from being read as an image"""
    if find_format(head):
        return heif.find_problem(head)
    other = next((name for name, pattern in REFUSED.items() if re.match(pattern, head, re.DOTALL)), "")
    if other:
        return Problem(f"is {other}, which is not read", "save it as PNG")
    return Problem("cannot be decoded", REPLACE, "not an image file")


def too_many_pixels(found: str, most: int = MAX_PIXELS) -> Problem:
    """An image above a limit"""
    return Problem(f"has more than {most:,} pixels", "make it smaller", found)


def too_large(most: int = MAX_FILE_BYTES) -> Problem:
    """A file above a limit"""
    return Problem(f"has more than {most:,} bytes", "make it smaller")


def undecodable(error: Exception) -> Problem:
    """What a decoder says of a damaged file"""
    # Pillow names the in-memory buffer, which says nothing to anyone.
    text = str(error).partition("\n")[0]
    detail = "not an image file" if "cannot identify image file" in text else text or type(error).__name__
    return Problem("cannot be decoded", REPLACE, detail)


def _find_long_comment(head: bytes) -> Problem | None:
    """The problem of a PPM whose header does not end soon: Pillow reads it byte by byte"""
    is_short = len(head) < MAX_PPM_HEADER or not re.match(SIGNATURES["PPM"], head)
    if is_short or len(re.sub(rb"#[^\r\n]*", b"", head).split(maxsplit=3)) >= 3:
        return None
    return Problem(f"has a PPM header of more than {MAX_PPM_HEADER:,} bytes", "save it as PNG")


def _refuse_large_tiles(image: Image.Image) -> None:
    # A decoder of TIFF makes room for a whole tile, however small the image is.
    tags = getattr(image, "tag_v2", {})
    sides = [tags.get(tag, 0) for tag in (TILE_WIDTH, TILE_LENGTH)]
    if not all(isinstance(side, int) and side <= MAX_PIXELS for side in sides) or sides[0] * sides[1] > MAX_PIXELS:
        raise ProblemError(too_many_pixels(f"tiles of {sides[0]} x {sides[1]}"))
