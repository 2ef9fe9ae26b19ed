"""Datasets in a single compressed file: .tar.gz and IDX, of which no more is unpacked than their limits allow."""

import io
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self

import numpy as np

from stylegan.data.arrays import Pixels
from stylegan.data.layout import ArchiveError
from stylegan.data.limits import MAX_CONTAINER_BYTES, MAX_MEMBER_BYTES, MAX_PIXELS
from stylegan.files import open_regular

GZIP_MAGIC = b"\x1f\x8b"
GZIP = 16 + zlib.MAX_WBITS  # the format, for zlib
UNSIGNED_BYTES = 8  # the type of values in an IDX file
LONGEST_HEADER = 2**12  # bytes of a name or other text in a member of its own; tarfile takes the square of them in time
MAX_HEADERS = 10  # such texts about one member: tarfile calls itself for each
MAX_MEMBERS, MAX_FILES = 200, 20  # of a .tar.gz, and of these the ones that are read; CIFAR-10 has nine and six
MAX_FILES_BYTES = 250_000_000  # of the files that are read; those of CIFAR-10 have 184 million
MAX_RATIO, MIN_BYTES = 32, 2**26  # what a file may unpack to: so many times its bytes, or so many; MNIST has five times
MAX_STREAMS = 20_000  # gzip streams in one file; EMNIST in blocks of 64 kB has 10,000
BLOCK_BYTES = 2**16


def read_members(path: Path, is_wanted: Callable[[str], object]) -> Iterator[tuple[str, bytes]]:
    """Files of a .tar.gz that are asked for by their names without folders, one after the other, with these names

    Raises ArchiveError for a damaged file, one above the limits, and a name that comes twice.
    """
    found = dict[str, int]()  # bytes of each
    try:
        with open_regular(path) as packed, io.BufferedReader(_Unpacked(packed)) as unpacked:
            stream: Any = unpacked
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_member_class()) as tar:
                for member in tar:
                    tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                    name = PurePosixPath(member.name).name
                    if not is_wanted(name):
                        continue
                    if name in found:
                        raise tarfile.TarError(f"{name} comes twice")
                    content = _read_member(tar, member, name)
                    found[name] = len(content)
                    if len(found) > MAX_FILES or sum(found.values()) > MAX_FILES_BYTES:
                        raise tarfile.TarError(f"more than {MAX_FILES} files or {MAX_FILES_BYTES:,} bytes of images")
                    yield name, content
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise ArchiveError(f"{path}: not a complete tar.gz file ({error}). Download it again.") from None


def read_idx(path: Path, dimensions: int) -> Pixels:
    """Unsigned bytes of an IDX file: two zeros, type 8, number of dimensions, their sizes big-endian, values

    Raises ArchiveError for a damaged file and one above the limits.
    """
    try:
        with open_regular(path) as packed, io.BufferedReader(_Unpacked(packed), BLOCK_BYTES) as file:
            head = file.read(4)
            if head != bytes([0, 0, UNSIGNED_BYTES, dimensions]):
                raise ValueError(f"begins with {head.hex()}, expected 0000{UNSIGNED_BYTES:02d}{dimensions:02d}")
            shape = np.frombuffer(file.read(4 * dimensions), ">u4", dimensions).tolist()
            if prod(shape) > MAX_CONTAINER_BYTES or prod(shape[1:]) > MAX_PIXELS:
                raise ValueError(f"says {_spelt(shape)}, expected at most {MAX_CONTAINER_BYTES:,} bytes")
            if 0 in shape:
                raise ValueError(f"says {_spelt(shape)}, which holds nothing")
            values = np.empty(prod(shape), np.uint8)
            count = 0
            while count < len(values) and (number := file.readinto(values[count:].data)):
                count += number
            if count < len(values) or file.read(1):
                more = "more" if count == len(values) else f"{count:,}"
                raise ValueError(f"says {_spelt(shape)}, but holds {more} bytes")
            return values.reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ArchiveError(f"{path}: not a complete IDX file ({error}). Download it again.") from None


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> bytes:
    file = tar.extractfile(member) if member.isreg() and not member.issparse() else None
    if file is None:
        raise tarfile.TarError(f"{name} is not a plain file")
    if not 0 <= member.size <= MAX_MEMBER_BYTES:
        raise tarfile.TarError(f"{name} has {member.size:,} bytes, expected at most {MAX_MEMBER_BYTES:,}")
    return file.read()


def _spelt(shape: list[int]) -> str:
    return " x ".join(map(str, shape))


class _Unpacked(io.RawIOBase):
    """What the streams of a gzip file unpack to. Raises OSError above a limit, and zlib.error for a wrong checksum.

    gzip.GzipFile reads a long name, empty streams and zeros behind them byte by byte.
    """

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._most = min(MAX_CONTAINER_BYTES, max(MIN_BYTES, MAX_RATIO * os.fstat(packed.fileno()).st_size))
        self._count, self._num_streams = 0, 0
        self._inflater: Any = None
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._go_on():
            data = self._inflater.decompress(self._rest, len(buffer))
            self._rest = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
            self._count += len(data)
            if self._count > self._most:
                raise OSError(f"unpacks to more than {self._most:,} bytes")
            if data:
                buffer[: len(data)] = data
                return len(data)
        return 0

    def _go_on(self) -> bool:
        """Have bytes to unpack, of this stream or of the next; False behind the last one"""
        if len(self._rest) < len(GZIP_MAGIC):  # a block may end within the mark of the next stream
            self._rest += self._packed.read(BLOCK_BYTES)
        if self._inflater is not None and not self._inflater.eof:
            if not self._rest:
                raise EOFError("it is cut off")
            return True
        if self._num_streams and not self._rest.strip(b"\0"):  # some writers fill up their last block
            return False
        if not self._rest.startswith(GZIP_MAGIC):
            raise OSError(f"Not a gzipped file ({self._rest[:2]!r})")
        self._num_streams += 1
        if self._num_streams > MAX_STREAMS:
            raise OSError(f"holds more than {MAX_STREAMS:,} gzip streams")
        self._inflater = zlib.decompressobj(GZIP)
        return True


def _member_class() -> type[tarfile.TarInfo]:
    """A class of members that counts them, for one file"""
    counts = {"members": 0, "headers": 0}

    class Member(tarfile.TarInfo):
        """A member that is a plain file or folder, or a short text about the next one."""

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> Self:
            """Raises ReadError for what tarfile would read without end: texts, however long and many, and members."""
            member = super().frombuf(buf, encoding, errors)  # type: ignore[arg-type]
            is_text = member.type not in tarfile.REGULAR_TYPES
            counts["members"] += 1
            counts["headers"] = counts["headers"] + 1 if is_text else 0
            if counts["members"] > MAX_MEMBERS or counts["headers"] > MAX_HEADERS:
                raise tarfile.ReadError(f"more than {MAX_MEMBERS:,} members, or {MAX_HEADERS} texts about one")
            if is_text and not 0 <= member.size <= LONGEST_HEADER:
                raise tarfile.ReadError(f"{member.name} is a header of {member.size:,} bytes")
            return member

    return Member
