"""Damaged official files: each is refused or loaded, soon, in little memory, and nothing else happens."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylegan.official import OfficialFileError, load_official
from stylegan.official.stream import STEPS
from tests.official_fuzz import tiny_files

NUM_FILES = 200
MAX_SEC = 60  # as in tests/unit/test_official_hostile.py
FILES = tiny_files()
REPOSITORY = Path(__file__).resolve().parents[2]


def test_two_hundred_damaged_files_do_nothing_but_be_read(tmp_path: Path) -> None:
    """In a process that notes every import, start of a program, connection and opened file, and has 512 MiB to spend"""
    command = [sys.executable, "-m", "tests.official_fuzz", str(tmp_path), str(NUM_FILES)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["events"] == []
    assert sum(found["outcomes"].values()) == NUM_FILES
    assert found["outcomes"]["refused"] > NUM_FILES / 2
    assert found["outcomes"]["loaded"] > 0  # a flipped bit in a weight makes another weight
    assert found["slowest"] < MAX_SEC


def read_or_refuse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with contextlib.suppress(OfficialFileError):
        load_official(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("official") / "damaged.pkl"


@settings(max_examples=40)
@given(data=st.data(), first=st.sampled_from(FILES), second=st.sampled_from(FILES))
def test_parts_of_two_files_are_read_or_refused(path: Path, data: st.DataObject, first: bytes, second: bytes) -> None:
    cut, start = data.draw(st.integers(0, len(first))), data.draw(st.integers(0, len(second)))
    read_or_refuse(path, first[:cut] + second[start:])


@settings(max_examples=300)
@given(st.lists(st.one_of(st.sampled_from([bytes([code]) for code in STEPS]), st.binary(max_size=4)), max_size=60))
def test_any_row_of_opcodes_is_read_or_refused(path: Path, parts: list[bytes]) -> None:
    read_or_refuse(path, b"\x80\x04" + b"".join(parts) + b".")
