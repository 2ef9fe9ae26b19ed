"""Entries of a zip, read by their place in its directory: no object in memory for each, and no position in the file.

zipfile keeps an object for every entry, which is gigabytes for a set of millions. Reads are positional, so threads and
forked processes share one open file.
"""

import hashlib
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from stylegan.data.limits import MAX_FILE_BYTES, MAX_INDEX_BYTES, MAX_INDEX_RATIO
from stylegan.files import open_regular

# Signature, 2 versions, flags, method, time, date, CRC, sizes (packed, unpacked), lengths (name, extra, comment),
# disk, attributes (2), place of the local header. APPNOTE 6.3, 4.3.12.
RECORD = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s22x2H")  # lengths of name and extra (4.3.7)
END = struct.Struct("<4s4H2LH")  # (4.3.16)
END64, LOCATOR64 = struct.Struct("<4s20x4Q"), struct.Struct("<4s16x")  # (4.3.14, 4.3.15); see _find_directory
UTF8, ENCRYPTED = 0x800, 0x1
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
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
        with open_regular(path) as file:
            self._fd = os.dup(file.fileno())
        self._length = os.fstat(self._fd).st_size
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
            is_utf8 = raw.isascii() or piece[at + 9] & (UTF8 >> 8)
            yield place, raw if is_utf8 else _decode_name(raw).encode()
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
        raw = data[RECORD.size : RECORD.size + name]
        text = raw.decode("utf-8", "backslashreplace") if flags & UTF8 else _decode_name(raw)
        long = _long_values(data[RECORD.size + name : RECORD.size + name + extra])
        unpacked, packed, header = (next(long) if value == FULL else value for value in (unpacked, packed, header))
        return Record(text, flags, method, crc, packed, unpacked, header + self._shift)

    def read(self, record: Record, most: int = MAX_FILE_BYTES) -> bytes:
        """Content of an entry of at most so many bytes, unpacked, with its length and CRC-32 checked"""
        if record.unpacked > most:
            raise zipfile.BadZipFile(f"{record.unpacked:,} bytes, expected at most {most:,}")
        return b"".join(self._pieces(record))

    def read_index(self, place: int) -> bytes:
        """Content of dataset.json, which is as long as the images are many, within what a list can be packed to"""
        record = self.record(place)
        return self.read(record, max(MAX_INDEX_BYTES, MAX_INDEX_RATIO * record.packed))

    def open(self, record: Record) -> IO[bytes]:
        """An entry that is unpacked as it is read"""
        return io.BufferedReader(_Unpacked(self._pieces(record), record.unpacked))

    def _pieces(self, record: Record) -> Iterator[bytes]:
        """Content of an entry, which never is longer than its record says"""
        if record.flags & ENCRYPTED:
            raise zipfile.BadZipFile("the entry is encrypted")
        if record.method not in METHODS:
            raise zipfile.BadZipFile(f"compression method {record.method}, expected stored or deflated")
        signature, name, extra = LOCAL.unpack(self._read(LOCAL.size, record.header))
        if signature != b"PK\3\4":
            raise zipfile.BadZipFile("Bad magic number for file header")
        packed = self._packed(record.packed, record.header + LOCAL.size + name + extra)
        crc, left = 0, record.unpacked
        for piece in _inflate(packed, left) if record.method == zipfile.ZIP_DEFLATED else packed:
            crc, left = zlib.crc32(piece, crc), left - len(piece)
            if left < 0:
                break
            yield piece
        if left:
            raise zipfile.BadZipFile(f"it does not have the {record.unpacked:,} bytes that the directory says")
        if crc != record.crc:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {record.name!r}")

    def _packed(self, count: int, place: int) -> Iterator[bytes]:
        if place + count > self._length:
            raise zipfile.BadZipFile("the file is cut off")
        for start in range(place, place + count, PIECE_BYTES):
            yield self._read(min(PIECE_BYTES, place + count - start), start)

    def _read(self, count: int, place: int) -> bytes:
        # A count or place of 64 bits is asked of the system only if it can be true.
        is_inside = place >= 0 and place + count <= self._length
        if not is_inside or len(data := os.pread(self._fd, count, place)) != count:
            raise zipfile.BadZipFile("the file is cut off")
        return data

    def _find_directory(self) -> tuple[int, int, int]:
        """Where the directory begins, its bytes, and what to add to every place that it names"""
        length = self._length
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


class _Unpacked(io.RawIOBase):
    """A file over pieces that come one after the other; those that came are kept, so that a reader may go back."""

    def __init__(self, pieces: Iterator[bytes], size: int) -> None:
        self._pieces, self._size = pieces, size
        self._data, self._at = bytearray(), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        while len(self._data) < self._at + len(buffer) and (piece := next(self._pieces, b"")):
            self._data += piece
        found = self._data[self._at : self._at + len(buffer)]
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def _decode_name(raw: bytes) -> str:
    """A name without the flag of UTF-8, which zip of Linux writes all the same; else CP437 (APPNOTE, appendix D)"""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("cp437")


def _inflate(packed: Iterator[bytes], most: int) -> Iterator[bytes]:
    """What deflated bytes unpack to, in pieces: all of it, or a byte more than so many"""
    inflater, left = zlib.decompressobj(-zlib.MAX_WBITS), most + 1
    try:
        for piece in packed:
            is_full = True  # what did not fit into the piece before is still to come, be there more input or not
            while is_full and left and not inflater.eof:
                room = min(PIECE_BYTES, left)
                unpacked = inflater.decompress(piece, room)
                piece, left, is_full = inflater.unconsumed_tail, left - len(unpacked), len(unpacked) == room
                if unpacked:  # nothing would be taken for the end
                    yield unpacked
    except zlib.error as error:
        raise zipfile.BadZipFile(str(error)) from None
    if not inflater.eof and left:
        raise zipfile.BadZipFile("incomplete or truncated stream")


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
