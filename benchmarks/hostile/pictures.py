"""Damage to an image file: chunks of a PNG, other formats under its name, and sizes that would fill the memory."""

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.hostile.containers import zlib_zeros
from benchmarks.hostile.mutations import MAX_BYTES, corrupt

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIDES = (0, 1, 3, 15, 17, 64, 4097, 20_000, 65_536, 2**31 - 1, 2**32 - 1)
FORMATS = (
    "JPEG",
    "GIF",
    "WEBP",
    "BMP",
    "TIFF",
    "PPM",
    "ICO",
    "TGA",
    "PCX",
    "SGI",
    "JPEG2000",
    "DDS",
    "ICNS",
    "IM",
    "MSP",
)
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16")
TEXTS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\n(touch executed) system\nshowpage\n%%EOF\n",
    b"\xc5\xd0\xd3\xc6" + b"\x1e\0\0\0" + b"\0" * 40, b"%PDF-1.4\n%%EOF\n", b"GIF89a" + b"\xff" * 30,
    b"P6 100000 100000 255\n" + b"\0" * 100, b"P5 4294967295 1 255\n", b"P3 2 2 255\n1 2 x", b"8BPS\0\1" + b"\0" * 60,
    b"SIMPLE  =                    T" + b" " * 50 + b"END", b"\x89HDF\r\n\x1a\n", b"CDF\1", b"#define a_width 16\n",
    b"BM" + b"\xff" * 60, b"II*\0\x08\0\0\0" + b"\xff" * 60, b"MM\0*" + b"\0\0\0\x08" + b"\xff" * 60,
    b"RIFF\0\0\0\0WEBPVP8L",
    b"\0\0\0\x20ftypheic" + b"\0" * 100, b"\0\0\0\x20ftypavif" + b"\0" * 100, b"<svg onload='x'/>",
    b"\xd7\xcd\xc6\x9a" + b"\0" * 90,
    b"\1\0\0\0" + b"\0" * 36 + b" EMF" + b"\0" * 60, b"GRIB\0\0\0\2", b"BUFR\0\0\0\2", b"/* XPM */\n\"1 1 1 1\",\n",
    b"\0\0\1\0\1\0\xff\xff\0\0\1\0\x20\0\xff\xff\xff\xff\x16\0\0\0", b"\xff\xd8\xff\xe1\xff\xffExif\0\0",
)  # fmt: skip


def is_png(content: bytes) -> bool:
    return content.startswith(SIGNATURE)


def chunks_of(content: bytes) -> list[tuple[bytes, bytes]]:
    """Type and data of each chunk"""
    found, at = [], len(SIGNATURE)
    while at + 12 <= len(content):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        found.append((kind, content[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def written(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, with right checksums"""
    body = (
        struct.pack(">I", len(data)) + kind + data + zlib.crc32(kind + data).to_bytes(4, "big") for kind, data in chunks
    )
    return SIGNATURE + b"".join(body)


def mutate_png(content: bytes, rng: random.Random) -> bytes:
    """Another size, depth, mode or format, chunks lost, repeated or strange, or pixels that unpack to gigabytes"""
    kind = rng.randrange(10)
    if kind == 0:
        return rng.choice(TEXTS)
    if kind == 1:
        return in_format(rng)
    if kind == 2:
        return corrupt(in_format(rng), rng)
    if kind == 3:
        return bomb(rng.choice([5_000, 20_000, 40_000]))
    chunks = chunks_of(content)
    if kind < 6:
        return written([(b"IHDR", _other_header(chunks[0][1], rng)), *chunks[1:]])
    row = rng.randrange(len(chunks))
    if kind == 6:
        chunks[row : row + 1] = [chunks[row]] * rng.choice([0, 2, 3])
    elif kind == 7:
        chunks.insert(row, _strange_chunk(rng))
    elif kind == 8:
        chunks[row] = (chunks[row][0], corrupt(chunks[row][1], rng))
    else:
        rng.shuffle(chunks)
    return written(chunks)


def _other_header(header: bytes, rng: random.Random) -> bytes:
    values = list(struct.unpack(">IIBBBBB", header))
    place = rng.randrange(7)
    values[place] = rng.choice(SIDES) if place < 2 else rng.choice([0, 1, 2, 3, 4, 6, 8, 16, 255])
    return struct.pack(">IIBBBBB", *values)


def _strange_chunk(rng: random.Random) -> tuple[bytes, bytes]:
    return rng.choice(
        [
            (b"tEXt", b"Comment\0" + b"\x1b[2J" * 100), (b"zTXt", b"a\0\0" + zlib_zeros(2**26)),
            (b"iCCP", b"p\0\0" + zlib_zeros(2**26)), (b"iCCP", b"p\0\0" + zlib.compress(b"not a profile")),
            (b"acTL", struct.pack(">II", 2**31, 0)), (b"acTL", struct.pack(">II", 2, 0)), (b"tRNS", b"\0" * 300),
            (b"PLTE", b"\0" * 7), (b"eXIf", b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"), (b"eXIf",
            b"II*\0"),
            (b"fcTL", b"\0" * 26), (b"abcD", b""), (b"ABCD", b"x" * 1000), (b"sRGB", b""), (b"gAMA", b"\0" * 4),
            (b"cHRM", b"\xff" * 32), (b"IEND", b""), (b"iTXt", b"a\0\1\0\0\0" + zlib_zeros(2**26)),
            (b"\0\0\0\0", b""), (b"pHYs", b"\0" * 9), (b"tIME", b"\xff" * 7),
        ]
    )  # fmt: skip


def bomb(side: int) -> bytes:
    """A PNG of side x side black pixels: a thousand times smaller than what it unpacks to"""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return written([(b"IHDR", header), (b"IDAT", zlib_zeros(side * (1 + side * 3))), (b"IEND", b"")])


def in_format(rng: random.Random) -> bytes:
    """An image of a format and a mode that are not a PNG's, in one frame or several"""
    mode, name = rng.choice(MODES), rng.choice(FORMATS)
    size = rng.choice([(16, 16), (20, 13), (1, 1), (1, 300), (64, 64), (0, 0)])
    pixels = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (*size[::-1], 3), np.uint8)
    extra: dict[str, Any] = {}
    try:
        image = Image.fromarray(pixels).convert(mode)
        if name in ("GIF", "TIFF", "WEBP") and rng.random() < 0.3:
            extra = {"save_all": True, "append_images": [image.rotate(90)] * rng.choice([1, 30])}
        if name == "TIFF" and rng.random() < 0.3:
            extra["compression"] = rng.choice(["tiff_lzw", "tiff_deflate", "jpeg", "packbits"])
        image.save(buffer := io.BytesIO(), format=name, **extra)
    except Exception:  # a mode that the format lacks, or no pixel at all
        return rng.choice(TEXTS)
    return buffer.getvalue()[:MAX_BYTES]
