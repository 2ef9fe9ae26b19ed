"""Damaged logs and records of a run: named with the remedy on one line, whatever byte changed."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.artifacts import json_lines, run_json, ticks, train_json
from pipelines.artifacts.artifact import ArtifactError
from pipelines.artifacts.run_json import RunRecord
from pipelines.artifacts.ticks import TickRow
from pipelines.artifacts.train_json import TrainRecord
from pipelines.artifacts.workspace import TRAINED
from pipelines.tracking.journal import Journal
from pipelines.train import measurements, ticklog

RECORDS = [{"nimg": 8.0, "kimg": 0.008, "loss/G": 0.125}, {"nimg": 16.0, "kimg": 0.016, "monitor/kid": float("nan")}]
NUM_FLIPS = 300


def flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def one_line(error: Exception) -> str:
    assert "\n" not in str(error)
    return str(error)


def test_a_log_reads_back_as_it_was_written_and_lines_without_a_checksum_are_read_too(tmp_path: Path) -> None:
    for record in RECORDS:
        json_lines.append(tmp_path / "log", record)
    with (tmp_path / "log").open("a") as log:
        log.write('{"nimg": 24.0}\n{}\n')
    json_lines.append(tmp_path / "log", {})
    found = [record for record, _ in json_lines.read(tmp_path / "log")]
    assert repr(found) == repr([*RECORDS, {"nimg": 24.0}, {}, {}])


def test_no_bit_of_a_tick_log_changes_unseen(tmp_path: Path) -> None:
    for record in RECORDS:
        ticks.append(tmp_path, TickRow.of(record))
    rows, content = ticks.read(tmp_path), (tmp_path / ticks.LOG).read_bytes()
    for seed in range(NUM_FLIPS):
        (tmp_path / ticks.LOG).write_bytes(flip(content, random.Random(seed)))
        if not (tmp_path / ticks.LOG).read_bytes().endswith(b"\n"):  # taken for a line that is being written
            assert repr(ticks.read(tmp_path)) == repr(rows[:1]), seed
            continue
        with pytest.raises(ArtifactError) as caught:
            ticks.read(tmp_path)
        assert one_line(caught.value).startswith(f"{tmp_path / ticks.LOG}: the line after byte ")
        assert str(caught.value).endswith(f"Delete {tmp_path} to train the run again.")


def test_a_damaged_line_of_the_journal_is_named_and_the_remedy_works(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for step in (8, 16, 24):
        journal.metrics(step, {"loss/G": 0.5})
    content = journal.path.read_bytes()
    for damage in (content.replace(b"0.5", b"0.4", 1), content.replace(b'"kind"', b'"kinf"', 1), b"\xff" + content):
        journal.path.write_bytes(damage)
        with pytest.raises(ArtifactError) as caught:
            Journal(tmp_path)
        assert f"Delete {journal.path} and {journal.files}, and run the same command again" in one_line(caught.value)
    journal.path.write_text('{"values": {}}\n')
    with pytest.raises(ArtifactError, match=r"is not a valid record \(.*'kind'.*\)\. Delete "):
        Journal(tmp_path)


def write_run(folder: Path) -> Path:
    run_json.write(folder, RunRecord(archive_sha256="a", sections={"train": {"seed": 0}}))
    return folder / run_json.RUN


def write_trained(folder: Path) -> Path:
    record = TrainRecord(
        fingerprint="f", archive_sha256="a", resume_from=None, snapshot="best", cur_nimg=8, trained_nimg=8, seed=0
    )
    train_json.write(folder, record)
    return folder / TRAINED


def write_yardstick(folder: Path) -> Path:
    measurements.forget(folder, "0123abcd")
    return folder / measurements.YARDSTICK


CASES: list[tuple[Callable[[Path], Path], Callable[[Path], object], str]] = [
    (write_run, run_json.read, "Start the run again, which writes it"),
    (write_trained, train_json.read, "Run `dvc repro --force train`, which writes it again"),
    (write_yardstick, measurements.yardstick_of_log, "Delete it and run the same command again, which writes it"),
]


@pytest.mark.parametrize(("write", "read", "remedy"), CASES)
@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"[1]", b"null", b"7", b"[" * 100_000, b'{"version": 1}', b'"\n'])
def test_a_damaged_record_is_named_with_its_remedy(
    write: Callable[[Path], Path], read: Callable[[Path], object], remedy: str, damage: bytes, tmp_path: Path
) -> None:
    path = write(tmp_path)
    read(tmp_path)
    path.write_bytes(damage)
    with pytest.raises(ArtifactError) as caught:
        read(tmp_path)
    assert one_line(caught.value).startswith(f"{path}: ")
    assert remedy in str(caught.value)


def test_a_damaged_line_in_the_copy_on_a_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "ticks").mkdir()
    for damage in (b'{"nimg": "x"}\n', b"[]\n", b"\xff\n"):
        (tmp_path / "ticks" / "000000000008.jsonl").write_bytes(b'{"nimg": 8.0, "kimg": 0.008}\n' + damage)
        with pytest.raises(ArtifactError, match=r"000000000008\.jsonl: a line of this copy of the tick log is damaged"):
            ticklog.read_copy(str(tmp_path))


def test_nodes_that_cannot_be_read_are_none_until_the_next_tick(tmp_path: Path) -> None:
    for damage in ("", "{", "7"):
        (tmp_path / ticklog.NODES).write_text(damage)
        assert ticklog.read_nodes(tmp_path) == []
    (tmp_path / ticklog.NODES).write_text(json.dumps(["a"]))
    assert ticklog.read_nodes(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "unheard_of"}, {"kind": "metrics", "step": "8", "values": {"a": 1.0}},
        {"kind": "metrics", "step": 2**63, "values": {"a": 1.0}}, {"kind": "metrics", "step": 8, "values": [1.0]},
        {"kind": "tags", "values": {"a": {}}}, {"kind": "status", "status": "LOST"},
        {"kind": "image", "key": "a", "step": 8, "file": "../../secret.png"},
        {"kind": "artifact", "name": "a", "digest": "../.."}, {"kind": "status", "status": "FAILED", "surplus": 1},
    ],
)  # fmt: skip
def test_a_record_that_no_journal_writes_is_named_though_its_checksum_is_right(
    record: dict[str, object], tmp_path: Path
) -> None:
    json_lines.append(tmp_path / "tracking.jsonl", {"time_ms": 1, **record})
    with pytest.raises(ArtifactError, match=r"tracking\.jsonl: the line before byte \d+ is not a valid record \("):
        Journal(tmp_path)


def test_no_reader_of_logs_waits_for_a_pipe(tmp_path: Path) -> None:
    for name in (ticks.LOG, "tracking.jsonl", run_json.RUN, "ticks.csv", measurements.YARDSTICK, ticklog.FAILURES):
        os.mkfifo(tmp_path / name)
    readers: list[Callable[[Path], object]] = [
        ticks.read, Journal, run_json.read, measurements.yardstick_of_log, ticklog.read_failures,
        lambda folder: ticks.read_csv(folder / "ticks.csv"),
    ]  # fmt: skip
    for read in readers:
        with pytest.raises(OSError, match="not a regular file"):
            read(tmp_path)
