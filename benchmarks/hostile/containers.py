"""Damage to files that hold others or numbers: zip, gzip, tar, .npy, IDX, safetensors."""

import gzip
import hashlib
import io
import json
import random
import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from benchmarks.hostile.mutations import MAX_BYTES, NUMBERS, TEXTS, change_tree, corrupt, mutate, write_tree

BOMB_BYTES = 3 * 2**30  # of zeros that a bomb unpacks to
NAMES = (
    "../escaped.png", "/escaped.png", "a/../../escaped.png", "C:\\escaped.png", "a\\b.png", "./a.png", "a//b.png", "",
    "\x1b[31m.png", "a\nb.png", "x" * 300 + ".png", "CON.png", "e\u0301.png", "é.png", ".png", "dataset.json", "a/",
    "a.eps.png",
    "dataset.json/a.png", "\u202egnp.png", "a\0b.png", " .png", "a.PNG", "a/dataset.json", "__MACOSX/a.png", "a.npy",
    "a.tif",
)  # fmt: skip


PIECE = 2**20  # bytes


@cache
def _packed_piece() -> bytes:
    """PIECE zeros by deflate; the flush forgets what was before, so that any number of pieces may follow each other"""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(bytes(PIECE)) + packer.flush(zlib.Z_FULL_FLUSH)


def packed_zeros(size: int) -> bytes:
    """Zeros as a stream of deflate"""
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    return _packed_piece() * (size // PIECE) + last.compress(bytes(size % PIECE)) + last.flush()


def zlib_zeros(size: int) -> bytes:
    """Zeros in zlib's format, with their Adler-32"""
    return b"\x78\x9c" + packed_zeros(size) + struct.pack(">I", (size % 65521) << 16 | 1)


@cache
def zeros() -> tuple[bytes, int]:
    """(BOMB_BYTES zeros as a stream of deflate, their CRC-32); it takes seconds, so ask before a process is forked"""
    piece, crc = bytes(2**24), 0
    for _ in range(BOMB_BYTES // len(piece)):
        crc = zlib.crc32(piece, crc)
    return packed_zeros(BOMB_BYTES), crc


def zeros_in_gzip() -> bytes:
    """A gzip file of BOMB_BYTES zeros"""
    packed, crc = zeros()
    return gzip.compress(b"", mtime=0)[:10] + packed + struct.pack("<II", crc, BOMB_BYTES & 0xFFFFFFFF)


@dataclass
class Part:
    """An entry of a zip as its headers tell it, true or not"""

    name: bytes
    packed: bytes
    size: int
    crc: int
    method: int = 0
    flags: int = 0
    packed_size: int | None = None  # None: the true one
    shares: int | None = None  # number of the part whose bytes it points to instead of its own
    extra: bytes = b""
    mode: int = 0o644


def part(name: str | bytes, content: bytes) -> Part:
    encoded = name.encode("utf-8", "surrogatepass") if isinstance(name, str) else name
    return Part(encoded, content, len(content), zlib.crc32(content))


def write_zip(parts: list[Part], *, shift: int = 0, comment: bytes = b"") -> bytes:
    """A zip whose headers say what the parts do"""
    body, places = bytearray(), []
    for each in parts:
        places.append(len(body))
        size = len(each.packed) if each.packed_size is None else each.packed_size
        numbers = (20, each.flags, each.method, 0, 33, each.crc, size & 0xFFFFFFFF, each.size & 0xFFFFFFFF)
        body += b"PK\3\4" + struct.pack("<HHHHHIIIHH", *numbers, len(each.name), 0) + each.name + each.packed
    start = len(body)
    for each, place in zip(parts, places, strict=True):
        size = len(each.packed) if each.packed_size is None else each.packed_size
        at = places[each.shares] if each.shares is not None else place
        numbers = (788, 20, each.flags, each.method, 0, 33, each.crc, size & 0xFFFFFFFF, each.size & 0xFFFFFFFF)
        tail = (len(each.name), len(each.extra), 0, 0, 0, (each.mode << 16) & 0xFFFFFFFF, at & 0xFFFFFFFF)
        body += b"PK\1\2" + struct.pack("<HHHHHHIIIHHHHHII", *numbers, *tail) + each.name + each.extra
    end = (
        0,
        0,
        len(parts) & 0xFFFF,
        len(parts) & 0xFFFF,
        len(body) - start,
        (start + shift) & 0xFFFFFFFF,
        len(comment),
    )
    return bytes(body + b"PK\5\6" + struct.pack("<HHHHIIH", *end) + comment)


def is_zip(content: bytes) -> bool:
    return content[:4] == b"PK\3\4" and zipfile.is_zipfile(io.BytesIO(content))


def parts_of(content: bytes) -> list[Part]:
    """Entries of a zip that is whole"""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [part(info.filename, archive.read(info)) for info in archive.infolist()]


def mutate_zip(content: bytes, rng: random.Random) -> bytes:
    """Contents of entries, their names, sizes and kinds, or the directory"""
    parts = parts_of(content)
    if not parts:
        return corrupt(content, rng)
    kind = rng.randrange(12)
    row = rng.randrange(len(parts))
    if kind < 6:
        parts[row] = part(parts[row].name, mutate(parts[row].packed, rng))
    elif kind < 9:
        parts[row] = _lying(parts[row], rng)
    elif kind == 9:
        parts[row] = _bomb(parts[row])
    elif kind == 10:
        _rearrange(parts, row, rng)
    else:
        shift, comment = rng.choice([0, 1, -1, 2**31]), rng.choice([b"", b"PK\5\6" * 10, b"x" * 65535])
        return rng.choice([b"", b"MZ" * 100])[: rng.choice([0, 200])] + write_zip(parts, shift=shift, comment=comment)
    return write_zip(parts)


def _lying(each: Part, rng: random.Random) -> Part:
    """An entry whose headers do not fit its content"""
    kind = rng.randrange(8)
    if kind == 0:
        return replace(each, method=rng.choice([1, 6, 8, 9, 12, 14, 93, 95, 99]))
    if kind == 1:
        return replace(each, flags=rng.choice([1, 0x41, 0x2000, 0x0800, 8]))
    if kind == 2:
        return replace(each, size=rng.choice([0, each.size - 1, each.size + 1, 2**31, 2**32 - 2, 2**32 - 1]))
    if kind == 3:
        return replace(each, packed_size=rng.choice([0, each.size - 1, each.size + 99, 2**31, 2**32 - 1]))
    if kind == 4:
        return replace(each, crc=each.crc ^ 1)
    if kind == 5:
        return replace(
            each, extra=rng.choice([b"\1\0\x08\0" + b"\xff" * 8, b"\1\0\xff\xff", b"up\5\0\1", b"\xff" * 40])
        )
    if kind == 6:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return replace(each, method=8, packed=corrupt(packer.compress(each.packed) + packer.flush(), rng))
    return replace(each, mode=rng.choice([0o120777, 0o010644, 0o020644, 0o040755, 0]), packed=b"/etc/passwd", size=11)


def _bomb(each: Part) -> Part:
    packed, crc = zeros()
    return replace(each, method=8, packed=packed, size=BOMB_BYTES, crc=crc)


def _rearrange(parts: list[Part], row: int, rng: random.Random) -> None:
    """Entries renamed, doubled, overlapping, lost or added"""
    kind = rng.randrange(6)
    if kind == 0:
        parts[row] = replace(parts[row], name=rng.choice(NAMES).encode("utf-8", "surrogatepass"))
    elif kind == 1:
        parts.append(replace(parts[row], shares=rng.choice([None, row])))
    elif kind == 2:
        parts += [replace(parts[row], name=b"c%d.png" % i, shares=row) for i in range(rng.choice([3, 3000]))]
    elif kind == 3:
        del parts[row]
    elif kind == 4:
        parts.append(part(rng.choice(NAMES), rng.choice([b"", b"x", b"{}", parts[row].packed])))
    else:
        parts[row] = replace(parts[row], name=rng.choice([b"\xff\xfe.png", b"\x82.png"]), flags=rng.choice([0, 0x800]))


def is_gzip(content: bytes) -> bool:
    return content[:3] == b"\x1f\x8b\x08"


def mutate_gzip(content: bytes, rng: random.Random) -> bytes:
    """Its content changed, or its end, or bytes in it"""
    kind = rng.randrange(8)
    if kind == 0:
        return corrupt(content, rng)
    if kind == 1:
        return zeros_in_gzip()
    inner = gzip.decompress(content)
    if kind == 2:
        bomb = zlib.compressobj(1, zlib.DEFLATED, 31)
        return bomb.compress(inner[:2000]) + bomb.flush() + zeros_in_gzip()  # two members
    if kind == 3:
        return content[: -rng.choice([1, 4, 8])] + rng.choice([b"", b"\0" * 8, b"junk"])
    return gzip.compress(mutate(inner, rng)[:MAX_BYTES], 1, mtime=0)


def is_tar(content: bytes) -> bool:
    return content[257:262] == b"ustar"


def mutate_tar(content: bytes, rng: random.Random) -> bytes:
    """Contents, names, kinds and sizes of its members"""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = [(member, tar.extractfile(member).read() if member.isreg() else b"") for member in tar]  # type: ignore[union-attr]
    row = rng.randrange(len(members))
    member, data = members[row]
    kind = rng.randrange(9)
    if kind < 4:
        members[row] = (member, mutate(data, rng))
    elif kind == 4:
        member.name = rng.choice(
            ["../escaped", "/escaped", "data_batch_9", "batches.meta", "a\nb", "\x1b[2J", "x" * 400, ""]
        )
    elif kind == 5:
        member.type = rng.choice(
            [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, b"Z"]
        )
        member.linkname = rng.choice(["/etc/passwd", member.name, "../escaped", members[0][0].name])
    elif kind == 6:
        members[row:row] = [members[row]] * rng.choice([0, 2])
    elif kind == 7:
        del members[row]
    else:
        member.pax_headers = {"size": rng.choice(["-1", "9" * 30, "x"]), "GNU.sparse.map": "0,1"}
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for each, inner in members:
            each.size = len(inner)
            tar.addfile(each, io.BytesIO(inner))
    packed = made.getvalue()
    return packed if rng.random() < 0.9 else corrupt(packed, rng)


def is_npy(content: bytes) -> bool:
    return content[:6] == b"\x93NUMPY"


def mutate_npy(content: bytes, rng: random.Random) -> bytes:
    """Another type, shape or order in the header, or other numbers"""
    size = int.from_bytes(content[8:10], "little")
    header, data = content[10 : 10 + size].decode("latin1"), content[10 + size :]
    kind = rng.randrange(6)
    if kind == 0:
        header = header.replace(
            "'descr': '", rng.choice(["'descr': '|O", "'descr': '>", "'descr': 'x", "'descr': '<U"]), 1
        )
    elif kind == 1:
        shape = rng.choice(
            ["()", "(0,)", "(2**62,)", "(1000000, 1000000)", "(-1, 4)", "(1.5,)", "(3, 8)", "'x'", "(" * 500]
        )
        header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    elif kind == 2:
        header = rng.choice(
            ["", "{}", "[1]", "{'descr': 'f4'}", "__import__('os').system('touch executed')", "[" * 5000]
        )
    elif kind == 3:
        header = header.replace("False", rng.choice(["True", "0", "None", "'x'"]), 1)
    elif kind == 4 and len(data) >= 4:
        data = rng.choice([np.float32(np.nan).tobytes(), np.float32(np.inf).tobytes(), b""]) + data[4:]
    else:
        data = data[: rng.randrange(len(data) + 1)]
    text = header.encode("latin1", "replace")
    return content[:6] + rng.choice([b"\1\0"] * 9 + [b"\3\0"]) + struct.pack("<H", len(text) & 0xFFFF) + text + data


def is_idx(content: bytes) -> bool:
    return content[:3] == b"\0\0\x08" and content[3:4] in (b"\1", b"\3")


def mutate_idx(content: bytes, rng: random.Random) -> bytes:
    """Another type, number of dimensions or size, or other values"""
    size = 4 + 4 * content[3]
    header, values = bytearray(content[:size]), content[size:]
    if rng.random() < 0.3:
        return bytes(header) + rng.choice([corrupt(values, rng), bytes(len(values)), b"\xff" * len(values)])
    place = rng.randrange(2, size)
    if place < 4:
        header[place] = rng.choice([0, 1, 2, 3, 4, 9, 13, 255])
    else:
        at = place // 4 * 4
        header[at : at + 4] = struct.pack(">I", rng.choice([0, 1, 5, 27, 29, 2**31, 2**32 - 1]))
    return bytes(header) + values


SIZE = 8  # bytes before the header of safetensors
CHECKSUM = "sha256"  # of this project, in the metadata
TYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "U8", "BOOL", "F8_E4M3", "C64", "X")
VALUES = (float("nan"), float("inf"), float("-inf"), -1.0, 0.0)


def is_safetensors(content: bytes) -> bool:
    size = int.from_bytes(content[:SIZE], "little")
    return content[SIZE : SIZE + 1] == b"{" and 2 < size <= len(content) - SIZE


def mutate_safetensors(content: bytes, rng: random.Random) -> bytes:
    """Names, shapes, types, places and numbers of tensors, and what the metadata say; often with a right checksum"""
    size = int.from_bytes(content[:SIZE], "little")
    header, data = json.loads(content[SIZE : SIZE + size]), bytearray(content[SIZE + size :])
    metadata, names = header.get("__metadata__", {}), [name for name in header if name != "__metadata__"]
    kind, name = rng.randrange(12), rng.choice(names)
    if kind < 4 and metadata.keys() - {CHECKSUM}:
        key = rng.choice(sorted(metadata.keys() - {CHECKSUM}))
        metadata[key] = mutate(metadata[key].encode(), rng).decode("utf-8", "replace")
    elif kind < 6:
        _fill(header[name], data, rng)
    elif kind == 6:
        header[rng.choice([*TEXTS, name + "x", f"opt_g.{name}"])] = header.pop(name)
    elif kind == 7:
        header[name]["dtype"] = rng.choice(TYPES)
    elif kind == 8:
        shape = header[name]["shape"]
        header[name]["shape"] = rng.choice(
            [shape[::-1], [1, *shape], [], [0], [2**62], [*shape, 2**31], [-1], [1] * 100]
        )
    elif kind == 9:
        other = rng.choice(names)
        header[name], header[other] = header[other], header[name]
    elif kind == 10:
        header.pop(name)
    else:
        header = change_tree(header, rng)
    is_object = isinstance(header, dict) and isinstance(header.get("__metadata__"), dict)
    if is_object and rng.random() < 0.9:
        header["__metadata__"].pop(CHECKSUM, None)
        if rng.random() < 0.6:
            covered = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
            header["__metadata__"][CHECKSUM] = hashlib.sha256(covered + data).hexdigest()
    text = write_tree(header, rng).encode("utf-8", "surrogatepass")
    written = (
        len(text) if rng.random() < 0.95 else rng.choice([0, 1, 2**31, 2**63, *[n for n in NUMBERS if 0 <= n < 2**63]])
    )
    return struct.pack("<Q", int(written)) + text + data


def _fill(described: dict[str, object], data: bytearray, rng: random.Random) -> None:
    """Put one number that is not finite, or is negative, into a tensor of 32 bits, or fill it"""
    start, end = described["data_offsets"]  # type: ignore[misc]
    if described["dtype"] == "F32" and end > start:
        value = np.float32(rng.choice(VALUES)).tobytes()
        whole = rng.random() < 0.5
        data[start : end if whole else start + 4] = value * ((end - start) // 4 if whole else 1)
