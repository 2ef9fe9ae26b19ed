"""Sources that are damaged or meant to do harm: every file that cannot be used is listed with its reason, and nothing
hangs, starts a program or takes more memory than the limits."""

import ast
import gzip
import io
import json
import os
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import prepare as stage
from pipelines.params import Params
from stylegan.data import ImageDataset
from stylegan.data import limits as limits_of_data
from stylegan.data.archive import Plan, Source, check_all, plan_archive
from stylegan.data.decoders import open_header, open_image
from stylegan.data.layout import ArchiveError
from stylegan.data.problems import ProblemError
from stylegan.data.sources import open_source
from stylegan.data.zipped import ZipReader
from stylegan.files import open_regular

Make = Callable[..., Params]
Write = Callable[..., list[str]]
FOLDER = Path(__file__).parents[2]


def png(seed: int = 0, width: int = 20, height: int = 20) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def planned(make_params: Make, path: Path, *overrides: str) -> tuple[Source, Plan]:
    config = make_params(f"prepare.source={path}", "prepare.max_bad_share=1", *overrides).prepare
    source = open_source(config, Path("none.jpg"))
    return source, plan_archive(source, list(check_all(source, config, workers=2)), config)


def bad_files(make_params: Make, path: Path, *overrides: str) -> dict[str, str]:
    _, plan = planned(make_params, path, *overrides)
    return {file.source.removeprefix(str(path))[1:]: file.problem.reason for file in plan.bad}


def zipped(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


# --- what ordinary cameras, disks and zips have


def test_a_photo_with_a_video_behind_it_is_an_ordinary_photo() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, "jpeg")
    video = np.random.default_rng(0).bytes(8 << 20)  # which has the marker of a scan 128 times
    with open_image(buffer.getvalue() + video) as image:
        image.load()
        assert image.size == (8, 8)


@pytest.mark.parametrize(("folder", "is_lost"), [("lost+found", False), (".Trash-0", False), ("cats", True)])
def test_folders_of_the_system_that_cannot_be_read_are_no_lost_images(
    folder: str,
    is_lost: bool,
    make_params: Make,
    tmp_path: Path,
    write_pictures: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_pictures(tmp_path / "set", 3)
    (tmp_path / "set" / folder).mkdir()
    scan = os.scandir

    def refuse(path: Path) -> object:
        if path.name == folder:
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    source, _ = planned(make_params, tmp_path / "set")
    assert [len(source.bad), len(source.passed_over)] == [int(is_lost), int(not is_lost)]


def test_names_of_a_zip_in_utf_8_without_its_flag_are_read_as_such(make_params: Make, tmp_path: Path) -> None:
    path = zipped(tmp_path / "set.zip", {"cafzz/a.png": png(0), "tea/b.png": png(1)})
    path.write_bytes(path.read_bytes().replace(b"cafzz", "caf\u00e9".encode()))  # as zip of Linux writes it
    source, plan = planned(make_params, path, "prepare.labels=folders")
    assert source.class_names == ["caf\u00e9", "tea"]
    assert sorted(str(entry.label) for entry in plan.entries) == ["0", "1"]


def test_of_two_entries_of_one_name_the_last_one_counts(make_params: Make, tmp_path: Path) -> None:
    with warnings.catch_warnings(), zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("a.png", b"not an image")
        archive.writestr("a.png", png())
    _, plan = planned(make_params, tmp_path / "set.zip")
    assert (plan.num_good, len(plan.bad)) == (1, 1)


@pytest.mark.parametrize("content", ['{"labels": [["a.png", -1]]}', '[{"file": "a.png"}]', "not JSON"])
def test_a_dataset_json_of_another_kind_matters_only_if_labels_are_asked_of_it(
    content: str, make_params: Make, tmp_path: Path, write_pictures: Write
) -> None:
    write_pictures(tmp_path / "set", 2)
    (tmp_path / "set" / "dataset.json").write_text(content)
    source, plan = planned(make_params, tmp_path / "set")
    assert plan.num_good == 2
    (unused,) = source.passed_over
    assert unused.problem.kind == "is not used"
    assert str(tmp_path) not in unused.problem.reason, "the path is said once"
    with pytest.raises(ArchiveError):
        planned(make_params, tmp_path / "set", "prepare.labels=file")


# --- decoders


def test_nothing_opens_an_image_file_but_the_list_of_decoders() -> None:
    """Image.open without formats= tries every decoder that Pillow has."""
    bare = []
    for file in (*(FOLDER / "stylegan").rglob("*.py"), *(FOLDER / "pipelines").rglob("*.py")):
        text = file.read_text()
        for node in ast.walk(ast.parse(text)) if "Image.open" in text else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Image.open", "PIL.Image.open"):
                bare += [] if any(word.arg == "formats" for word in node.keywords) else [file]
    assert bare == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is PostScript, which is not read; save it as PNG"),
        (b"8BPS\0\1" + bytes(99), "is Photoshop, which is not read; save it as PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is SVG, which is not read; save it as PNG"),
        (b"\0\0\1\0\1\0" + bytes(50), "is an icon, which is not read; save it as PNG"),
        (b"\xd7\xcd\xc6\x9a" + bytes(50), "is WMF or EMF, which is not read; save it as PNG"),
        (b"SIMPLE  =   T", "is FITS, which is not read; save it as PNG"),
        (b"\x89HDF\r\n\x1a\n", "is HDF, which is not read; save it as PNG"),
        (b"GRIB" + bytes(50), "is GRIB, which is not read; save it as PNG"),
        (b"", "cannot be decoded (not an image file); replace or remove it"),
        (bytes([0, 0, 2]) + bytes(900), "cannot be decoded (not an image file); replace or remove it"),  # TGA
    ],
)
def test_a_format_that_is_not_read_reaches_no_decoder_whatever_its_name_ends_in(
    content: bytes, reason: str, make_params: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(content)
    opened: list[object] = []
    monkeypatch.setattr(Image, "open", lambda *arguments, **options: opened.append(options))
    assert bad_files(make_params, tmp_path) == {"a.png": reason}
    assert opened == []


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF"])
def test_an_image_is_read_by_its_content_not_by_its_name(format: str, make_params: Make, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png", format)
    assert planned(make_params, tmp_path)[1].num_good == 1


def chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def claimed(width: int, height: int, extra: bytes = b"") -> bytes:
    """A PNG that says to have this size"""
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(bytes(999))) + chunk(b"IEND", b"")


def gif(frames: int) -> bytes:
    frame = b"," + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\2\2D\1\0"
    return b"GIF89a" + struct.pack("<2H3B", 16, 16, 0x80, 0, 0) + bytes(6) + frame * frames + b";"


def tiled_tiff(tile: int) -> bytes:
    tags = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1), (322, tile), (323, tile), (324, 8), (325, 9)]
    entries = b"".join(struct.pack("<2H2I", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(99)


def many_scans(count: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "jpeg", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (claimed(50_000, 50_000), "has more than 100,000,000 pixels"),  # Pillow refuses it
        (claimed(10_001, 10_000), "has more than 100,000,000 pixels"),  # Pillow warns of it
        (b"P6 99999 99999 255\n", "has more than 100,000,000 pixels"),
        (tiled_tiff(40_000), "has more than 100,000,000 pixels"),
        (many_scans(100), "has too many scans"),
        (b"P3 2000 2000 255\n" + b"1 " * 3_000_000, "is a PPM of more than 4,000,000 bytes of text"),
        (gif(100_000), "is animated or has pages"),
        (claimed(16, 16, chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(9_000_000)))), "cannot be decoded"),
        (claimed(16, 16, chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(9_000_000)))), "cannot be decoded"),
    ],
)
def test_what_a_small_file_claims_is_refused_before_there_is_memory_for_it(
    data: bytes, kind: str, make_params: Make, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(data)
    tracemalloc.start()
    _, plan = planned(make_params, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [file.problem.kind for file in plan.bad] == [kind]
    assert peak < 4 * len(data) + 12_000_000  # the file, copies of it, and what Pillow allows a text to unpack to


@pytest.mark.parametrize("format", ["jpeg2000", "webp"])
def test_formats_whose_decoders_take_more_memory_have_a_limit_of_their_own(
    format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    Image.new("L", (20, 20)).save(buffer, format)
    monkeypatch.setattr("stylegan.data.decoders.MAX_PIXELS_HEAVY", 399)
    with pytest.raises(ProblemError, match=r"^has more than 399 pixels \(20 x 20\); make it smaller$"):
        open_image(buffer.getvalue())


@pytest.mark.parametrize("shape", [(1, 1, 1025), (10_001, 10_000), (2**32, 2**32, 1)])
def test_arrays_have_the_limits_of_images_and_so_many_channels(
    shape: tuple[int, ...], make_params: Make, tmp_path: Path
) -> None:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header)
    (reason,) = bad_files(make_params, tmp_path, "prepare.mode=keep").values()
    assert "expected at most 100,000,000 pixels and 1,024 channels" in reason


# --- folders


def test_what_is_no_file_is_listed_and_waited_for_by_nobody(
    make_params: Make, tmp_path: Path, write_pictures: Write
) -> None:
    write_pictures(tmp_path, 3)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "circle.png").symlink_to("circle.png")
    assert bad_files(make_params, tmp_path) == {
        "circle.png": "is a link to nothing that can be reached (Too many levels of symbolic links); "
        "replace or remove it",
        "device.png": "is a device, not a file; replace or remove it",
        "gone.png": "is a link to nothing that can be reached (No such file or directory); replace or remove it",
        "pipe.png": "is a FIFO, not a file; replace or remove it",
    }


@pytest.mark.parametrize("name", ["a.zip", "cifar-10-python.tar.gz", "train-images-idx3-ubyte.gz"])
def test_a_fifo_as_source_is_refused(name: str, make_params: Make, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ArchiveError, match=rf"{name}: is a FIFO, not a file\. Set prepare\.source to "):
        planned(make_params, tmp_path / name)


def test_a_fifo_as_archive_or_image_or_index_is_refused(
    make_params: Make, tmp_path: Path, write_pictures: Write
) -> None:
    os.mkfifo(tmp_path / "dataset.json")
    with pytest.raises(OSError, match=r"dataset\.json: is a FIFO, not a file$"):
        open_regular(tmp_path / "dataset.json")
    with pytest.raises(OSError, match="is a FIFO"):
        ImageDataset(tmp_path / "dataset.json", use_labels=False, xflip=False, split="all", max_images=None)
    write_pictures(tmp_path, 1)
    with pytest.raises(ArchiveError, match=r"dataset\.json: cannot be read \(is a FIFO, not a file; replace or remove"):
        planned(make_params, tmp_path, "prepare.labels=file")


def test_a_source_that_links_to_itself_is_refused(make_params: Make, tmp_path: Path) -> None:
    (tmp_path / "me").symlink_to("me")
    with pytest.raises(ArchiveError, match=r"/me: not found\. Set prepare\.source to "):
        planned(make_params, tmp_path / "me")


def test_linked_folders_are_read_once_and_no_circle_is_followed(
    make_params: Make, tmp_path: Path, write_pictures: Write
) -> None:
    folder, far = tmp_path / "set", tmp_path / "far"
    write_pictures(folder / "deep", 2)
    write_pictures(far, 3)
    for name, target in {"a": "deep", "b": far, "c": far, "deep/up": "..", "root": "/", "zero": tmp_path}.items():
        (folder / name).symlink_to(target)
    source, _ = planned(make_params, folder)
    assert [name.removeprefix(f"{folder}/") for name in source.names] == [
        *(f"b/good0{number}.png" for number in range(3)),
        *(f"deep/good0{number}.png" for number in range(2)),
    ]
    assert sorted(file.source.removeprefix(f"{folder}/") for file in source.passed_over) == [
        "a", "c", "deep/up", "root", "zero",
    ]  # fmt: skip


def test_a_folder_that_cannot_be_read_counts_as_lost(
    make_params: Make, tmp_path: Path, write_pictures: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path, 2)
    (tmp_path / "locked").mkdir()
    scan = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    reason = "is a folder that cannot be read (Permission denied); allow it, or remove it"
    assert bad_files(make_params, tmp_path) == {"locked": reason}


def test_the_console_says_what_is_passed_over_with_a_count_and_an_example(
    make_params: Make, tmp_path: Path, write_pictures: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    write_pictures(folder, 4)
    (folder / "again").symlink_to(folder)
    (folder / "dataset.json").write_text('{"labels": null, "holdout": ["good00.png", "lost.png"]}')
    config = make_params(f"prepare.source={folder}").prepare
    stage.prepare(config, tmp_path / "a.zip", tmp_path / "manifest.json", Path("none.jpg"), workers=1)
    assert capsys.readouterr().out.endswith(
        "Not used, though no image is lost:\n"
        "      1 is held out by dataset.json but absent; add it, or remove its name\n"
        f"        {folder}/lost.png\n"
        "      1 links to a folder that is read already or that the source is in; nothing is lost\n"
        f"        {folder}/again\n"
    )


def test_a_file_with_two_labels_has_none(make_params: Make, tmp_path: Path, write_pictures: Write) -> None:
    write_pictures(tmp_path, 2)
    labels = '[["good00.png", 0], ["good01.png", 1], ["good01.png", 1], ["good00.png", 1]]'
    (tmp_path / "dataset.json").write_text(f'{{"labels": {labels}}}')
    reason = "has two labels in dataset.json; remove the wrong one"
    assert bad_files(make_params, tmp_path, "prepare.labels=file") == {"good00.png": reason}
    assert bad_files(make_params, tmp_path) == {}


# --- zips

GOOD = {f"{number}.png": png(number) for number in range(5)}


def patched(offset: int, value: bytes) -> Callable[[bytes], bytes]:
    """Bytes of the third record of the directory, set"""

    def patch(data: bytes) -> bytes:
        place = -1
        for _ in range(3):
            place = data.index(b"PK\1\2", place + 1)
        place += offset
        return data[:place] + value + data[place + len(value) :]

    return patch


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        (patched(8, b"\1"), "is encrypted; zip it again without a password"),
        (patched(10, b"\x63"), "is compressed by a method that is not read (99); zip it again with deflate"),
        (patched(10, b"\x0c"), "is compressed by a method that is not read (12); zip it again with deflate"),
        (patched(24, b"\x09\0\0\0"), "it does not have the 9 bytes that the directory says"),
        (patched(24, b"\0\0\1\0"), "it does not have the 65,536 bytes that the directory says"),
        (patched(24, b"\0\0\0\x80"), "has more than 300,000,000 bytes; make it smaller"),
        (patched(20, b"\x40\0\0\0"), "incomplete or truncated stream"),
        (patched(42, b"\0\0\0\x7f"), "the file is cut off"),
        (patched(42, b"\0\0\0\0"), "shares bytes of the zip with another entry; zip the files again"),
        (patched(16, b"abcd"), "Bad CRC-32"),
        (patched(24, b"\xff\xff\xff\xff"), "Corrupt zip64 extra field"),
        (lambda data: data.replace(b"2.png", b"1.png"), "has the name of an entry before it; rename one"),
    ],
)  # fmt: skip
def test_an_entry_that_lies_is_listed_and_the_others_are_used(
    patch: Callable[[bytes], bytes], reason: str, make_params: Make, tmp_path: Path
) -> None:
    path = zipped(tmp_path / "a.zip", GOOD)
    path.write_bytes(patch(path.read_bytes()))
    _, plan = planned(make_params, path)
    (bad,) = plan.bad
    assert reason in bad.problem.reason
    assert plan.num_good == 4


def test_an_entry_that_unpacks_to_more_than_it_says_is_not_unpacked(make_params: Make, tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"0.png": png(), "1.png": png(1), "2.png": bytes(20_000_000)})
    path.write_bytes(patched(24, b"\x64\0\0\0")(path.read_bytes()))
    tracemalloc.start()
    _, plan = planned(make_params, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert plan.num_good == 2
    assert peak < 5_000_000  # nowhere near the twenty million that the entry holds


def test_a_bomb_of_overlapping_entries_is_unpacked_once(make_params: Make, tmp_path: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packer.compress(bytes(1_000_000)) + packer.flush()
    crc = zlib.crc32(bytes(1_000_000))
    sizes = struct.pack("<3L", crc, len(data), 1_000_000)
    local = struct.pack("<4s5H", b"PK\3\4", 20, 0, 8, 0, 0) + sizes + struct.pack("<2H", 5, 0) + b"a.png" + data
    record = struct.pack("<4s6H", b"PK\1\2", 20, 20, 0, 8, 0, 0) + sizes + struct.pack("<5H2L", 5, 0, 0, 0, 0, 0, 0)
    directory = b"".join(record + b"%d.png" % number for number in range(9))
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, len(directory), len(local), 0)
    (tmp_path / "a.zip").write_bytes(local + directory + end)
    found = list(bad_files(make_params, tmp_path / "a.zip").values())
    assert found[0] == "cannot be decoded (not an image file); replace or remove it"
    assert found[1:] == ["shares bytes of the zip with another entry; zip the files again"] * 8


@pytest.mark.parametrize("numbers", [(2**63, 0), (2**64 - 1, 2**64 - 1), (10, 2**63), (10, 0)])
def test_a_directory_of_64_bits_that_lies_is_refused(
    numbers: tuple[int, int], make_params: Make, tmp_path: Path
) -> None:
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, *numbers)
    end += struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1) + b"PK\5\6" + bytes(18)
    (tmp_path / "a.zip").write_bytes(bytes(99) + end)
    with pytest.raises(ArchiveError, match=r"a\.zip: not a zip file \(.*\)\. Copy or download it again\.$"):
        planned(make_params, tmp_path / "a.zip")


def test_a_dataset_json_in_a_zip_is_bounded_and_comes_once(
    make_params: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile names what is wanted here
        with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
            for name, content in [*GOOD.items(), *[("dataset.json", b"{}")] * 2]:
                archive.writestr(name, content)
    with pytest.raises(ArchiveError, match=r"twice\.zip: two entries are named dataset\.json\. Keep one of them"):
        planned(make_params, tmp_path / "twice.zip")
    with pytest.raises(ArchiveError, match=r"two entries are named dataset\.json"):
        ImageDataset(tmp_path / "twice.zip", use_labels=False, xflip=False, split="all", max_images=None)
    monkeypatch.setattr("stylegan.data.zipped.MAX_INDEX_BYTES", 99)
    path = zipped(tmp_path / "long.zip", {**GOOD, "dataset.json": b"{" + b" " * 99_999 + b"}"})
    with pytest.raises(ArchiveError, match=r"dataset\.json: cannot be read \(100,001 bytes, expected at most "):
        planned(make_params, path, "prepare.labels=file")


def test_an_archive_with_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", GOOD)
    path.write_bytes(path.read_bytes().replace(b"2.png", b"1.png"))
    with pytest.raises(ArchiveError, match=r"1 entries have the name of another, such as 1\.png"):
        ImageDataset(path, use_labels=False, xflip=False, split="all", max_images=None)


@pytest.mark.parametrize("size", [0, 1, 2**16, 3 * 2**20 + 17])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("value", [b"\0", b"pixel"])
def test_an_entry_that_is_read_in_parts_is_the_whole(size: int, compression: int, value: bytes, tmp_path: Path) -> None:
    content = (value * size)[:size]
    reader = ZipReader(zipped(tmp_path / "a.zip", {"a": content}, compression))
    ((place, _),) = reader.entries()
    record = reader.record(place)
    assert reader.read(record) == content
    with reader.open(record) as file:
        assert file.read(9) == content[:9]
        assert file.seek(0) == 0
        assert file.read() == content
        assert file.seek(0, io.SEEK_END) == size


# --- datasets in one file


def compressed(path: Path, *parts: bytes) -> Path:
    with gzip.open(path, "wb") as file:
        for part in parts:
            file.write(part)
    return path


def images(*shape: int) -> bytes:
    return bytes([0, 0, 8, 3]) + struct.pack(">3I", *shape)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([images(2**32 - 1, 2**32 - 1, 9)], r"says 4294967295 x 4294967295 x 9, expected at most 600,000,000 bytes"),
        ([images(1, 20_000, 20_000)], r"says 1 x 20000 x 20000, expected at most"),
        ([images(10, 28, 28), bytes(99)], r"says 10 x 28 x 28, but holds 99 bytes"),
        ([images(10, 28, 28), *[bytes(10**6)] * 20], r"says 10 x 28 x 28, but holds more bytes"),
        ([images(0, 28, 28)], r"says 0 x 28 x 28, which holds nothing"),
        ([images(9, 28, 28)[:7]], r"buffer is smaller than requested size"),
        ([b""], r"begins with , expected 00000803"),
    ],
)
def test_an_idx_file_that_lies_is_refused_unread(
    parts: list[bytes], message: str, make_params: Make, tmp_path: Path
) -> None:
    path = compressed(tmp_path / "train-images-idx3-ubyte.gz", *parts)
    tracemalloc.start()
    with pytest.raises(ArchiveError, match=rf"not a complete IDX file \({message}.*\)\. Download it again\.$"):
        planned(make_params, path)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000  # buffers of gzip
    tracemalloc.stop()


def member(name: str, type: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = type, size, name
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        *(([member("data_batch_1", type)], "data_batch_1 is not a plain file") for type in
          (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE)),
        ([member("data_batch_1", tarfile.GNUTYPE_SPARSE), bytes(512)], "data_batch_1 is not a plain file"),
        ([member("data_batch_1", size=10**12)], "data_batch_1 has 1,000,000,000,000 bytes, expected at most 100,000,"),
        ([member("text", tarfile.XHDTYPE, 10**9)], "text is a header of 1,000,000,000 bytes"),
        ([member("text", tarfile.GNUTYPE_LONGNAME, 10**9)], "text is a header of 1,000,000,000 bytes"),
        ([member("other", size=5 * 10**6), *[bytes(10**6)] * 5], "unpacks to more than 4,000,000 bytes"),
        ([member("batches.meta", size=5), b"\x80\2N.." + bytes(507), member("x/batches.meta")], "comes twice"),
        ([member("a")] * 201, "more than 200 members"),
        *(([*[member("a", kind, 12), b"12 path=abc\n".ljust(512, b"\0")] * 11, member("a")], "or 10 texts about one")
          for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)),
        ([member(f"data_batch_{n}") for n in range(3)], "more than 2 files"),
        ([member("text", tarfile.XHDTYPE, 5000), b"1" * 5000], "text is a header of 5,000 bytes"),
    ],
)  # fmt: skip
def test_a_tar_that_lies_is_refused_unread(
    parts: list[bytes], message: str, make_params: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylegan.data.packed.MAX_CONTAINER_BYTES", 4_000_000)
    monkeypatch.setattr("stylegan.data.packed.MAX_FILES", 2)
    monkeypatch.setattr("stylegan.data.sources._read_batch", lambda content, name: (content, []))
    monkeypatch.setattr("stylegan.data.sources.load_arrays", lambda file, name: None)
    path = compressed(tmp_path / "cifar-10-python.tar.gz", *parts, bytes(1024))
    tracemalloc.start()
    with pytest.raises(ArchiveError, match=rf"not a complete tar\.gz file \(.*{message}.*\)\. Download it again\.$"):
        planned(make_params, path)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000  # buffers of gzip
    tracemalloc.stop()


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\2(" + b"}" * 2_000 + b"l.",  # an object of 64 bytes for every byte
        b"\x80\2}r\xff\xff\xff\x7f.",  # a table of 2^31 places
        b"\x80\2cnumpy\nndarray\n(J\0\0\0\x10tcnumpy\ndtype\nX\x02\0\0\0O8\x85R\x86R.",  # as many objects
    ],
)
def test_a_pickle_that_asks_for_more_than_it_holds_is_refused(
    pickled: bytes, make_params: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylegan.data.pickles.MOST_STEPS", 1000)
    content = pickled + bytes(-len(pickled) % 512)
    path = tmp_path / "cifar-10-python.tar.gz"
    compressed(path, member("data_batch_1", size=len(pickled)), content, bytes(1024))
    with pytest.raises(ArchiveError, match="more steps or larger numbers than arrays take"):
        planned(make_params, path)


def test_a_dataset_json_of_far_more_names_than_images_is_not_read(
    make_params: Make, tmp_path: Path, write_pictures: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stylegan.data.sources.MOST_ABSENT", 10)
    names = write_pictures(tmp_path, 2)
    labels = [[Path(name).name, 0] for name in names] + [[f"{number}.png", 0] for number in range(29)]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(ArchiveError, match=r"dataset\.json: has 32 names for 2 images\. Write it for these images\."):
        planned(make_params, tmp_path, "prepare.labels=file")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels[:29]}))
    _, plan = planned(make_params, tmp_path, "prepare.labels=file")
    assert len(plan.entries) == 2


# --- copies


def saved(image: Image.Image, path: Path, **options: object) -> None:
    image.save(path, **options)


def test_copies_by_pixels_are_on_the_same_side_whatever_their_files(make_params: Make, tmp_path: Path) -> None:
    """Grey as RGB, turned by its EXIF, in another format, with a comment: each is another file of the same pixels."""
    for number in range(12):
        grey = Image.fromarray(np.random.default_rng(number).integers(0, 256, (16, 16), np.uint8))
        saved(grey, tmp_path / f"{number}a.png")
        saved(grey.convert("RGB"), tmp_path / f"{number}b.bmp")
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise
        saved(grey.transpose(Image.Transpose.ROTATE_90), tmp_path / f"{number}c.png", exif=exif)
        saved(grey.convert("RGBA"), tmp_path / f"{number}d.webp", lossless=True)
    _, plan = planned(make_params, tmp_path, "prepare.holdout_fraction=0.5", "prepare.resolution=16")
    split = {Path(entry.source).stem: entry.split for entry in plan.entries}
    for number in range(12):
        assert len({split[f"{number}{copy}"] for copy in "abcd"}) == 1
    assert set(split.values()) == {"train", "holdout"}
    assert len({entry.group for entry in plan.entries}) == 12


def test_without_copies_the_group_of_an_image_is_the_digest_of_its_file(
    make_params: Make, tmp_path: Path, write_pictures: Write
) -> None:
    """So that the split of every set that has no copies is what it was when files were compared."""
    write_pictures(tmp_path, 6)
    _, plan = planned(make_params, tmp_path)
    assert [entry.group for entry in plan.entries] == [entry.sha256 for entry in plan.entries]


def test_copies_on_both_sides_of_a_given_split_are_said(
    make_params: Make, tmp_path: Path, write_pictures: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    write_pictures(folder, 4)
    Image.open(folder / "good00.png", formats=["PNG"]).save(folder / "copy.bmp")
    (folder / "dataset.json").write_text('{"labels": null, "holdout": ["good00.png"]}')
    config = make_params(f"prepare.source={folder}").prepare
    stage.prepare(config, tmp_path / "a.zip", tmp_path / "manifest.json", Path("none.jpg"), workers=1)
    said = "1 images to train on are copies of held-out ones, because dataset.json of the source splits them\n"
    assert said in capsys.readouterr().out


def test_headers_are_looked_at_with_the_same_limits() -> None:
    with pytest.raises(ProblemError, match="has more than"):
        open_header(io.BytesIO(claimed(20_000, 20_000)))
    assert limits_of_data.MAX_FILE_BYTES == 3 * limits_of_data.MAX_PIXELS
