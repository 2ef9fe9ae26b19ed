"""A full disk, a read-only folder, an unreadable file: one line names the path and the remedy, and nothing is lost."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.artifacts import json_lines
from pipelines.params import Params
from pipelines.prepare import prepare
from stylegan.exit_codes import REMEDIES, exit_code
from stylegan.files import replacing, write_json


@contextmanager
def room_for(count: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: what is written then ends as on a full disk, with another number"""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_has_no_room_leaves_the_old_one_and_no_part_of_the_new(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, "old")
    with room_for(1000), pytest.raises(OSError, match=r"a\.json") as caught:
        write_json(path, "x" * 5000)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert (path.read_text(), os.listdir(tmp_path)) == ('"old"\n', ["a.json"])
    write_json(path, "x" * 5000)


def test_a_line_for_which_there_is_half_the_room_is_not_added_and_later_ones_are(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    json_lines.append(path, {"n": 1})
    size = path.stat().st_size
    with room_for(size + 20), pytest.raises(OSError, match=r"log\.jsonl"):
        json_lines.append(path, {"n": 2, "text": "x" * 100})
    assert path.stat().st_size == size
    json_lines.append(path, {"n": 3})
    assert [record["n"] for record, _ in json_lines.read(path)] == [1, 3]


def test_an_archive_without_room_keeps_the_one_before_it(
    make_params: Callable[..., Params], tmp_path: Path, tiny_pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_params(f"prepare.source={tiny_pictures}", "prepare.labels=none").prepare
    out, facts = tmp_path / "archive.zip", tmp_path / "manifest.json"
    prepare(config, out, facts, Path("no earth"), workers=1)
    before = out.read_bytes(), facts.read_bytes()
    other = config.model_copy(update={"seed": 1})
    command = exit_code(lambda _: prepare(other, out, facts, Path("no earth"), workers=1) and None)
    with room_for(1500):
        assert command() == 1
    line = capsys.readouterr().err
    assert line == f"error: {out}: File too large. {REMEDIES[errno.EFBIG]}.\n"
    assert (out.read_bytes(), facts.read_bytes()) == before
    assert sorted(os.listdir(tmp_path)) == ["archive.zip", "manifest.json"]
    assert command() == 0


@pytest.fixture
def tiny_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    for number in range(8):
        Image.new("RGB", (16, 16), (number, 9 * number, 200)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("number", REMEDIES)
def test_the_line_names_path_reason_and_remedy(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    @exit_code
    def command(_: object = None) -> None:
        with replacing(tmp_path / "out\x1b[2J.png"):
            raise OSError(number, os.strerror(number))

    assert command() == 1
    expected = f"error: {tmp_path}/out\\x1b[2J.png: {os.strerror(number)}. {REMEDIES[number]}.\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    "form", ["{}", "Error writing bytes to file. Detail: [errno 28] {}"]
)  # the latter is pyarrow's
def test_a_full_disk_that_no_file_is_known_of_is_looked_for(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    @exit_code
    def command(_: object = None) -> None:
        raise OSError(errno.ENOSPC, form.format(os.strerror(errno.ENOSPC)))

    assert command() == 1
    error = capsys.readouterr().err
    assert error.startswith("error: /")
    assert error.endswith(f": No space left on device. {REMEDIES[errno.ENOSPC]}.\n")
