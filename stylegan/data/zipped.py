"""Entries of a zip, read by their place in its directory: no object in memory for each, and no position in the file.

zipfile keeps an object for every entry, which is gigabytes for a set of millions. Reads are positional, so threads and
forked processes share one open file.
"""

import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Signature, 2 versions, flags, method, time, date, CRC, sizes (packed, unpacked), lengths (name, extra, comment),
# disk, attributes (2), place of the local header. APPNOTE 6.3, 4.3.12.
RECORD = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s22x2H")  # lengths of name and extra (4.3.7)
END = struct.Struct("<4s4H2LH")  # (4.3.16)
END64, LOCATOR64 = struct.Struct("<4s20x4Q"), struct.Struct("<4s16x")  # (4.3.14, 4.3.15); see _find_directory
UTF8, ENCRYPTED = 0x800, 0x1
FULL = 0xFFFFFFFF  # a size or place of more than 32 bits stands in the extra field of this number
EXTRA64 = 1
LONGEST_COMMENT = 2**16
PIECE_BYTES = 2**20
TYPICAL_RECORD = 512  # most names and extras fit, and one read brings them


@dataclass(frozen=True)
class Record:
    """What the directory says about an entry."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int  # bytes in the file
    unpacked: int
    header: int  # place of the local header


class ZipReader:
    """An open zip. An entry is named by the place of its record in the directory. Raises zipfile.BadZipFile."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY)
        self.start, self.size, self._shift = self._find_directory()

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Place and name in UTF-8 of every entry, in the order of the directory"""
        place, end = self.start, self.start + self.size
        piece, begin = b"", place  # of the directory, and where it begins
        while place < end:
            at = place - begin
            if len(piece) < at + RECORD.size + 3 * LONGEST_COMMENT and begin + len(piece) < end:
                piece, begin, at = self._read(min(PIECE_BYTES, end - place), place), place, 0
            if len(piece) < at + RECORD.size or piece[at : at + 4] != b"PK\1\2":
                raise zipfile.BadZipFile("Bad magic number for central directory")
            name, extra, comment = struct.unpack_from("<3H", piece, at + 28)
            raw = piece[at + RECORD.size : at + RECORD.size + name]
            is_plain = raw.isascii() or piece[at + 9] & (UTF8 >> 8)
            yield place, raw if is_plain else raw.decode("cp437").encode()
            place += RECORD.size + name + extra + comment

    def digest(self) -> str:
        """sha256 of the directory, which holds name, size and CRC-32 of every entry: of what the zip contains"""
        digest = hashlib.sha256()
        for place in range(self.start, self.start + self.size, PIECE_BYTES):
            digest.update(self._read(min(PIECE_BYTES, self.start + self.size - place), place))
        return digest.hexdigest()

    def record(self, place: int) -> Record:
        """What the directory says about the entry whose record is there"""
        data = os.pread(self._fd, TYPICAL_RECORD, place)
        if len(data) < RECORD.size or not data.startswith(b"PK\1\2"):
            raise zipfile.BadZipFile("Bad magic number for central directory")
        _, _, _, flags, method, _, _, crc, packed, unpacked, name, extra, *_, header = RECORD.unpack_from(data)
        if len(data) < RECORD.size + name + extra:
            data = self._read(RECORD.size + name + extra, place)
        text = data[RECORD.size : RECORD.size + name].decode("utf-8" if flags & UTF8 else "cp437")
        long = _long_values(data[RECORD.size + name : RECORD.size + name + extra])
        unpacked, packed, header = (next(long) if value == FULL else value for value in (unpacked, packed, header))
        return Record(text, flags, method, crc, packed, unpacked, header + self._shift)

    def read(self, record: Record) -> bytes:
        """Content of an entry, unpacked, with its CRC-32 checked"""
        if record.flags & ENCRYPTED:
            raise zipfile.BadZipFile("the entry is encrypted")
        signature, name, extra = LOCAL.unpack(self._read(LOCAL.size, record.header))
        if signature != b"PK\3\4":
            raise zipfile.BadZipFile("Bad magic number for file header")
        data = self._read(record.packed, record.header + LOCAL.size + name + extra)
        if record.method == zipfile.ZIP_DEFLATED:
            try:
                data = zlib.decompress(data, -zlib.MAX_WBITS, record.unpacked)
            except zlib.error as error:
                raise zipfile.BadZipFile(str(error)) from None
        elif record.method != zipfile.ZIP_STORED:
            raise zipfile.BadZipFile(f"compression method {record.method}, expected stored or deflated")
        if zlib.crc32(data) != record.crc:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {record.name!r}")
        return data

    def _read(self, count: int, place: int) -> bytes:
        data = os.pread(self._fd, count, place) if place >= 0 else b""
        if len(data) != count:
            raise zipfile.BadZipFile("the file is cut off")
        return data

    def _find_directory(self) -> tuple[int, int, int]:
        """Where the directory begins, its bytes, and what to add to every place that it names"""
        length = os.fstat(self._fd).st_size
        tail_bytes = min(length, END.size + LONGEST_COMMENT)
        tail = self._read(tail_bytes, length - tail_bytes)
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) < at + END.size:
            raise zipfile.BadZipFile("File is not a zip file")
        *_, size, offset, _ = END.unpack_from(tail, at)
        end = length - tail_bytes + at
        # Of more than 4 GiB or 65,535 entries: record and locator stand right before the end.
        before = end - LOCATOR64.size - END64.size
        if before >= 0 and self._read(4, end - LOCATOR64.size) == b"PK\6\7":
            signature, _, _, size, offset = END64.unpack(self._read(END64.size, before))
            if signature != b"PK\6\6":
                raise zipfile.BadZipFile("Corrupt zip64 end of central directory record")
            end = before
        start: int = end - size
        if start < 0:
            raise zipfile.BadZipFile("Bad offset for central directory")
        return start, size, start - offset


def _long_values(extra: bytes) -> Iterator[int]:
    """Numbers of 64 bits in the extra field, in the order of those that they stand for (4.5.3)"""
    at = 0
    while at + 4 <= len(extra):
        number, length = struct.unpack_from("<2H", extra, at)
        if number == EXTRA64:
            for place in range(at + 4, min(at + 4 + length, len(extra)) - 7, 8):
                yield int.from_bytes(extra[place : place + 8], "little")
        at += 4 + length
    raise zipfile.BadZipFile("Corrupt zip64 extra field")
