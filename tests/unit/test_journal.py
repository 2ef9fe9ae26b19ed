"""The journal of a run: nothing lost, nothing twice, whatever is killed when."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifacts import json_lines
from pipelines.tracking.journal import Journal


def records(journal: Journal) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key != "time_ms"} for record, _ in journal.read(0)]


def test_the_fingerprint_is_the_name_of_the_folder(tmp_path: Path) -> None:
    assert Journal(tmp_path / "abc123").fingerprint == "abc123"


def test_records_keep_their_order_and_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    assert journal.began_ms() is None
    journal.metrics(1000, {"loss/G": 0.5})
    journal.status("FINISHED")
    assert records(journal) == [
        {"kind": "metrics", "step": 1000, "values": {"loss/G": 0.5}},
        {"kind": "status", "status": "FINISHED"},
    ]
    times = [record["time_ms"] for record, _ in journal.read(0)]
    assert times[0] == journal.began_ms() <= times[1]


def test_a_replayed_step_is_not_recorded_twice(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for step in (1000, 2000, 3000):
        journal.metrics(step, {"loss/G": step / 10})
    resumed = Journal(tmp_path)
    for step in (2000, 3000, 4000):
        resumed.metrics(step, {"loss/G": step / 10, "new": 1.0})
    points = [(record["step"], set(record["values"])) for record in records(resumed)]
    assert points == [
        (1000, {"loss/G"}), (2000, {"loss/G"}), (3000, {"loss/G"}),
        (2000, {"new"}), (3000, {"new"}), (4000, {"loss/G", "new"}),
    ]  # fmt: skip


def test_step_zero_and_negative_steps_are_recorded(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for step in (-100, 0, 0):
        journal.metrics(step, {"a": 1.0})
    assert [record["step"] for record in records(journal)] == [-100, 0]


def test_known_tags_are_dropped_and_changed_ones_recorded(tmp_path: Path) -> None:
    for values in ({"a": 1, "b": None}, {"a": 1}, {"a": 2}):
        Journal(tmp_path).tags(values)
    assert [record["values"] for record in records(Journal(tmp_path))] == [{"a": 1, "b": None}, {"a": 2}]


def test_of_each_param_the_first_value_stays(tmp_path: Path) -> None:
    for values in ({"a": 1, "b": None}, {"a": 2, "b": 3, "c": 4}):
        Journal(tmp_path).params(values)
    assert [record["values"] for record in records(Journal(tmp_path))] == [{"a": 1, "b": None}, {"c": 4}]


def test_a_summary_is_replaced_by_another_value_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for value in (0.5, 0.5, 0.25):
        journal.summary(100, {"eval/kid": value})
    journal.summary(70, {"eval/kid": 0.25})
    assert [(r["step"], r["values"]["eval/kid"]) for r in records(journal)] == [(100, 0.5), (100, 0.25), (70, 0.25)]


def test_a_picture_is_kept_and_its_step_recorded_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.image("samples/ema", 1000, b"first")
    journal.image("samples/ema", 1000, b"again")
    (record,) = records(journal)
    assert record == {"kind": "image", "key": "samples/ema", "step": 1000, "file": "samples-ema-1000.png"}
    assert (journal.files / record["file"]).read_bytes() == b"first"


def test_an_artifact_is_a_copy_that_survives_the_next_experiment(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run")
    original = tmp_path / "generator.safetensors"
    original.write_bytes(b"one")
    journal.artifact(original)
    journal.artifact(original)
    original.write_bytes(b"two")
    (record,) = records(journal)
    assert (journal.files / record["digest"] / record["name"]).read_bytes() == b"one"
    journal.artifact(original)
    assert len(records(journal)) == 2


def test_a_missing_artifact_is_named(tmp_path: Path) -> None:
    path = tmp_path / "none.html"
    with pytest.raises(FileNotFoundError) as error:
        Journal(tmp_path / "run").artifact(path)
    assert str(error.value) == f"{path}: no file to record for run run. Run the stage that writes it."


@pytest.mark.parametrize("name", ["loss(G)", "p%", "", "größe"])
def test_a_name_no_server_takes_is_refused_at_once(tmp_path: Path, name: str) -> None:
    journal = Journal(tmp_path)
    message = f"metric {name!r}: tracking servers take letters, digits, spaces and _ - . : / only. Rename it."
    for write in (journal.metrics, journal.summary):
        with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
            write(0, {name: 1.0})
        assert str(error.value) == message
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the whole message is compared
        journal.image(name, 0, b"")
    assert str(error.value) == message
    assert not journal.path.exists()


@pytest.mark.parametrize("torn", [b'{"kind": "metr', b"{", b'{"kind": "status", "status": "FAILED"}'])
def test_a_line_torn_by_a_kill_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    journal = Journal(tmp_path)
    journal.metrics(1, {"a": 1.0})
    with journal.path.open("ab") as stream:
        stream.write(torn)
    assert len(records(journal)) == 1  # a reader waits for the end of the line
    resumed = Journal(tmp_path)
    resumed.metrics(2, {"a": 2.0})
    assert [record["step"] for record in records(resumed)] == [1, 2]


def test_reading_continues_from_an_offset(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.metrics(1, {"a": 1.0})
    ((_, offset),) = journal.read(0)
    journal.metrics(2, {"a": 2.0})
    ((record, end),) = journal.read(offset)
    assert record["step"] == 2
    assert end == journal.path.stat().st_size
    assert list(journal.read(end)) == []


def test_every_line_is_json_even_when_a_value_is_not_finite(tmp_path: Path) -> None:
    Journal(tmp_path).metrics(1, {"a": float("nan"), "b": float("inf")})
    (line,) = (tmp_path / "tracking.jsonl").read_text().splitlines()
    assert str(json.loads(line)["values"]) == "{'a': nan, 'b': inf}"


def test_what_could_not_be_written_is_recorded_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    journal = Journal(tmp_path / "abc")
    with monkeypatch.context() as patch:
        patch.setattr(json_lines, "append", refuse)
        with pytest.raises(OSError, match="No space"):
            journal.metrics(1, {"a": 1.0})
    journal.metrics(1, {"a": 1.0})
    assert [record["step"] for record, _ in journal.read(0)] == [1]
