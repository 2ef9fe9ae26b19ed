"""stylegan.data.zipped: what zipfile reads, without its objects."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from stylegan.data.zipped import ZipReader
from tests.wide_archive import write_wide_archive

CONTENTS = {"b.txt": b"second" * 99, "a/ä.txt": b"", "z.bin": bytes(range(256)) * 300}


def write(path: Path, compression: int, comment: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in CONTENTS.items():
            archive.writestr(name, content)
        archive.comment = comment
    return path


def contents(path: Path) -> dict[str, bytes]:
    reader = ZipReader(path)
    records = [reader.record(place) for place, _ in reader.entries()]
    assert [record.name.encode() for record in records] == [name for _, name in reader.entries()]
    return {record.name: reader.read(record) for record in records}


@pytest.mark.parametrize("comment", [b"", b"a comment", b"x" * 65535])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_names_and_contents_are_those_of_zipfile(compression: int, comment: bytes, tmp_path: Path) -> None:
    assert contents(write(tmp_path / "a.zip", compression, comment)) == CONTENTS


def test_a_zip_behind_something_else_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", zipfile.ZIP_STORED)
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert contents(path) == CONTENTS


def test_sizes_and_places_of_64_bits_are_read(tmp_path: Path) -> None:
    """zipfile writes them for more than 4 GiB only; here the directory says the same of a small file."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one", b"content")
        place = archive.start_dir
    data = path.read_bytes()
    directory = bytearray(data[place : place + 46 + 3])
    directory[20:28], directory[42:46] = b"\xff" * 8, b"\xff" * 4
    directory[30:32] = struct.pack("<H", 28)
    directory += struct.pack("<2H3Q", 1, 24, 7, 7, 0)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), place, 0)
    path.write_bytes(data[:place] + directory + end)
    assert zipfile.ZipFile(path).read("one") == b"content"
    assert contents(path) == {"one": b"content"}


def test_more_than_65535_entries_are_read(tmp_path: Path) -> None:
    write_wide_archive(tmp_path / "a.zip", 70_000, num_classes=10)
    assert [name.decode() for _, name in ZipReader(tmp_path / "a.zip").entries()] == (
        zipfile.ZipFile(tmp_path / "a.zip").namelist()
    )


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "File is not a zip file"),
        (lambda data: data[:-30], "File is not a zip file"),
        (lambda data: flipped(data, 40), r"Bad CRC-32 for file 'b\.txt'"),
        (lambda data: flipped(data, 0), "Bad magic number for file header"),
        (lambda data: flipped(data, data.index(b"PK\1\2")), "Bad magic number for central directory"),
        (lambda data: flipped(data, data.index(b"PK\1\2") + 8), "the entry is encrypted"),
        (lambda data: data[-200:], "Bad magic number|cut off|Bad offset"),
    ],
)
def test_damage_is_named(damage: Callable[[bytes], bytes], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", zipfile.ZIP_STORED)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(zipfile.BadZipFile, match=message):
        contents(path)


def test_other_compressions_are_refused_by_their_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", zipfile.ZIP_BZIP2)
    with pytest.raises(zipfile.BadZipFile, match=r"^compression method 12, expected stored or deflated$"):
        contents(path)


def test_the_digest_tells_contents_apart(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zip", zipfile.ZIP_STORED)
    same = tmp_path / "same.zip"
    same.write_bytes(path.read_bytes())
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        for name, content in CONTENTS.items():
            archive.writestr(zipfile.ZipInfo(name), content[::-1])
    digests = [ZipReader(tmp_path / name).digest() for name in ("a.zip", "same.zip", "other.zip")]
    assert digests[0] == digests[1] != digests[2]
