"""Datasets in a single compressed file: .tar.gz and IDX, of which no more is unpacked than their limits allow."""

import gzip
import io
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

UNSIGNED_BYTES = 8  # the type of values in an IDX file
LONGEST_HEADER = 2**16  # bytes of a name or other text that stands in a member of its own


def read_members(path: Path, is_wanted: Callable[[str], object]) -> Iterator[tuple[str, bytes]]:
    """Files of a .tar.gz that are asked for by their names without folders, one after the other, with these names

    Raises ArchiveError for a damaged file, one above the limits, and a name that comes twice.
    """
    found = set[str]()
    try:
        with open_regular(path) as packed, gzip.GzipFile(fileobj=packed) as unpacked:
            stream: Any = _Bounded(unpacked)
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as tar:
                for member in tar:
                    name = PurePosixPath(member.name).name
                    if not is_wanted(name):
                        continue
                    if name in found:
                        raise tarfile.TarError(f"{name} comes twice")
                    found.add(name)
                    yield name, _read_member(tar, member, name)
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise ArchiveError(f"{path}: not a complete tar.gz file ({error}). Download it again.") from None


def read_idx(path: Path, dimensions: int) -> Pixels:
    """Unsigned bytes of an IDX file: two zeros, type 8, number of dimensions, their sizes big-endian, values

    Raises ArchiveError for a damaged file and one above the limits.
    """
    try:
        with open_regular(path) as packed, gzip.GzipFile(fileobj=packed) as file:
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
    if member.size > MAX_MEMBER_BYTES:
        raise tarfile.TarError(f"{name} has {member.size:,} bytes, expected at most {MAX_MEMBER_BYTES:,}")
    return file.read()


def _spelt(shape: list[int]) -> str:
    return " x ".join(map(str, shape))


class _Bounded(io.RawIOBase):
    """What a stream unpacks to, up to MAX_CONTAINER_BYTES. Raises OSError at that limit."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file, self._count = file, 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._count += len(data)
        if self._count > MAX_CONTAINER_BYTES:
            raise OSError(f"unpacks to more than {MAX_CONTAINER_BYTES:,} bytes")
        return data


class _Member(tarfile.TarInfo):
    """A member that is a plain file or folder, or a short text about the next one."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> Self:
        """Raises ReadError for a text that tarfile would read whole, however long it is."""
        member = super().frombuf(buf, encoding, errors)  # type: ignore[arg-type]
        if member.type not in tarfile.REGULAR_TYPES and not 0 <= member.size <= LONGEST_HEADER:
            raise tarfile.ReadError(f"{member.name} is a header of {member.size:,} bytes")
        return member
