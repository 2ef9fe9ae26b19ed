"""pipelines.train.ticklog and follow: each tick written once, shown, recorded, and warned about."""

import io
import itertools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.train import Checkpoint
from rich.console import Console

from pipelines.artifacts import json_lines
from pipelines.artifacts.artifact import ArtifactError
from pipelines.artifacts.ticks import LOG, read, write_csv
from pipelines.cluster import store
from pipelines.diagnosis.alarms import alarms
from pipelines.params import Params
from pipelines.tracking.journal import Journal
from pipelines.train import follow, ticklog
from pipelines.train.follow import Follower, following
from pipelines.train.pulse import Position
from pipelines.train.ticklog import TickLog
from stylegan.images import save_png
from tests.tick_rows import ticks

Make = Callable[..., Params]


def row(nimg: float, **values: float) -> dict[str, float]:
    base = {"nimg": nimg, "kimg": nimg / 1000, "sec": 2.0, "sec_per_kimg": 250.0, "memory_gb": 0.5, "augment/p": 0.25}
    return base | values


def report(folder: Path, nimg: float, checkpoint: Checkpoint | None = None) -> None:
    TickLog(folder, None).after_report(None, [row(nimg), row(-1.0)], checkpoint)  # of two ranks the first counts


def test_ticks_are_kept_in_order(tmp_path: Path) -> None:
    assert read(tmp_path) == []
    report(tmp_path, 8.0)
    report(tmp_path, 16.0)
    assert read(tmp_path) == ticks([row(8.0), row(16.0)])


def test_a_replayed_tick_is_not_written_twice(tmp_path: Path) -> None:
    for nimg in (8.0, 16.0, 8.0, 16.0, 24.0):
        report(tmp_path, nimg)
    assert [line.nimg for line in read(tmp_path)] == [8, 16, 24]


def test_half_a_line_that_a_kill_left_is_neither_read_nor_written_behind(tmp_path: Path) -> None:
    report(tmp_path, 8.0)
    with (tmp_path / LOG).open("a") as file:
        file.write('{"nimg": 16.0, "ki')
    assert read(tmp_path) == ticks([row(8.0)])
    report(tmp_path, 16.0)
    assert read(tmp_path) == ticks([row(8.0), row(16.0)])


def test_a_tick_costs_the_same_however_long_the_log_is(
    tmp_path: Path, make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, asked = TickLog(tmp_path, None), list[tuple[str, int]]()
    log.after_report(None, [row(8.0)], None)
    whole = json_lines.read
    monkeypatch.setattr(ticklog, "read", lambda folder: pytest.fail("the writer read the log again"))
    monkeypatch.setattr(json_lines, "read", lambda path, at=0: asked.append((path.name, at)) or whole(path, at))
    follower = Follower(tmp_path, Journal(tmp_path), make_params(), Console(file=io.StringIO()), None)
    asked.clear()
    sizes = [0]
    for nimg in (16.0, 24.0):
        follower.catch_up(fresh=True)
        sizes.append((tmp_path / LOG).stat().st_size)
        log.after_report(None, [row(nimg)], None)
    follower.catch_up(fresh=True)
    assert [at for name, at in asked if name == LOG] == sizes


def test_a_tick_sends_at_most_one_part_to_the_store_and_another_machine_gets_the_whole_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, other, url = tmp_path / "here", tmp_path / "other", str(tmp_path / "store")
    sent, write = list[int](), store.write_bytes
    monkeypatch.setattr(store, "write_bytes", lambda content, at: sent.append(len(content)) or write(content, at))
    log = TickLog(here, url)
    for nimg in range(8, 8 * 3 * ticklog.PART_TICKS + 8, 8):
        log.after_report(None, [row(float(nimg))], None)
    longest = len(json_lines.line_of(row(float(nimg))))
    assert max(sent) <= ticklog.PART_TICKS * longest
    ticklog.restore(other, url)
    assert (other / LOG).read_bytes() == (here / LOG).read_bytes()
    # There the run goes on, and is killed: what its first tick sends holds all before, which the store has already.
    for _ in range(2):
        nimg += 8
        TickLog(other, url).after_report(None, [row(float(nimg))], None)
    ticklog.restore(here, url)
    assert [line.nimg for line in read(here)] == list(range(8, nimg + 8, 8))


def test_a_tick_that_the_store_refused_is_sent_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, url = TickLog(tmp_path / "here", str(tmp_path / "store")), str(tmp_path / "store")
    log.after_report(None, [row(8.0)], None)
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_bytes", refuse)
        log.after_report(None, [row(16.0)], None)
    assert len(ticklog.read_copy(url)) == 1
    log.after_report(None, [row(24.0)], None)
    assert [json.loads(line)["nimg"] for line in ticklog.read_copy(url)] == [8, 16, 24]


def refuse(content: bytes, url: str) -> None:
    raise store.StoreError(url)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    save_png(torch.zeros(3, 4, 4, dtype=torch.uint8), tmp_path / "checkpoint" / ticklog.SAMPLES)
    return Checkpoint.from_directory(tmp_path / "checkpoint")


def test_pictures_of_a_snapshot_are_kept_by_their_position(tmp_path: Path, checkpoint: Checkpoint) -> None:
    report(tmp_path, 16.0, checkpoint)
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["000000016.png"]


def test_pictures_before_the_first_step_are_kept_and_are_no_tick(tmp_path: Path) -> None:
    reports: list[Any] = [{"nimg": 0.0, ticklog.BEGINNING: b"picture"}, {"nimg": 0.0}]
    TickLog(tmp_path, None).after_report(None, reports, None)
    assert (tmp_path / "samples" / "000000000.png").read_bytes() == b"picture"
    assert read(tmp_path) == []


def test_images_that_cannot_be_kept_are_a_warning_and_the_tick_is_logged(
    tmp_path: Path, checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "samples").write_text("a file where the folder should be")
    reports: list[Any] = [{"nimg": 0.0, ticklog.BEGINNING: b"picture"}, {"nimg": 0.0}]
    TickLog(tmp_path, None).after_report(None, reports, None)
    report(tmp_path, 16.0, checkpoint)
    assert [line.nimg for line in read(tmp_path)] == [16]
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("the first sample images: not kept: ")
    assert second.startswith("sample images or notes of kimg 0.016: not kept: ")


def test_table_has_the_position_first_empty_cells_for_what_a_tick_lacks_and_nothing_of_the_machine(
    tmp_path: Path,
) -> None:
    machine = {"ranks/count": 2, "ranks/memory_gb_max": 0.5, "system/cpu_percent": 99.0}
    rows = [row(8.0, **{"loss/G": 1.0}), row(16.0, **{"augment/r_t": 0.5}, **machine)]
    write_csv(ticks(rows), tmp_path / "ticks.csv")
    assert (tmp_path / "ticks.csv").read_bytes() == (
        b"nimg,kimg,augment/p,augment/r_t,loss/G\n8.0,0.008,0.25,,1.0\n16.0,0.016,0.25,0.5,\n"
    )


def records(journal: Journal, kind: str) -> list[dict[str, Any]]:
    return [record for record, _ in journal.read(0) if record["kind"] == kind]


def test_every_tick_is_recorded_and_only_new_ones_are_shown(
    tmp_path: Path, checkpoint: Checkpoint, make_params: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    params, folder = make_params("train.total_kimg=0.064"), tmp_path / "run"
    report(folder, 8.0)  # before the stage was started again
    journal = Journal(folder)
    with following(folder, journal, params):
        report(folder, 16.0, checkpoint)
    assert [(record["step"], record["values"]["sec"]) for record in records(journal, "metrics")] == [(8, 2), (16, 2)]
    assert [record["step"] for record in records(journal, "image")] == [16]
    assert not {"nimg", "kimg"} & {name for record in records(journal, "metrics") for name in record["values"]}
    # 48 images at 250 s a kimg.
    assert capsys.readouterr().out == (
        "kimg 0.016/0.064  12 s left  250 sec/kimg  p 0.25  0.5 GB\n"
        f"sample images: {os.path.relpath(folder / 'samples' / '000000016.png')}, a new file at every snapshot\n"
    )


def test_last_ticks_are_recorded_when_the_stage_fails(tmp_path: Path, make_params: Make) -> None:
    journal = Journal(tmp_path)

    def fail() -> None:
        with following(tmp_path, journal, make_params()):
            report(tmp_path, 8.0)
            raise RuntimeError("worker died")

    with pytest.raises(RuntimeError, match="worker died"):
        fail()
    assert [record["step"] for record in records(journal, "metrics")] == [8]


class BusyJournal(Journal):
    """A journal whose disk answers only the third time."""

    failures = 2

    def metrics(self, step: int, values: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device", "tracking.jsonl")
        super().metrics(step, values)


def test_what_cannot_be_recorded_is_said_once_tried_again_and_ends_no_training(
    tmp_path: Path, make_params: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = BusyJournal(tmp_path)
    with following(tmp_path, journal, make_params()):
        report(tmp_path, 8.0)
        report(tmp_path, 16.0)
        deadline = time.monotonic() + 30
        while journal.failures and time.monotonic() < deadline:
            time.sleep(0.1)
    assert [record["step"] for record in records(journal, "metrics")] == [8, 16]
    assert capsys.readouterr().out.count("warning: progress was not shown or recorded: OSError: [Errno 28]") == 1


def test_a_damaged_line_is_named_while_training_continues_and_positions_are_still_told(
    tmp_path: Path, make_params: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[int] = []
    positions = itertools.count(8, 8)
    monkeypatch.setattr(follow, "_read", lambda board: Position(next(positions), (8,)))
    monkeypatch.setattr(follow, "POLL_SEC", 0.01)

    def train() -> None:
        with following(tmp_path, Journal(tmp_path), make_params(), None, None, told.append):
            (tmp_path / LOG).write_text("no tick\n")
            end, deadline = len(told) + 5, time.monotonic() + 30
            while len(told) < end:
                assert time.monotonic() < deadline, "positions are told no more"
                time.sleep(0.01)

    with pytest.raises(ArtifactError):
        train()
    shown = capsys.readouterr().out
    assert shown.count("not shown or recorded: ArtifactError: ") == 1
    assert shown.count(" to train the run again. Training continues.\n") == 1


@pytest.mark.parametrize("resumed", [False, True])
def test_an_alarm_is_recorded_and_shown_once_and_not_again_after_a_resume(
    resumed: bool, tmp_path: Path, make_params: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    params, journal = make_params("augment.mode=ada", "augment.p_max=0.8"), Journal(tmp_path)
    lines = [json.dumps(row(nimg, **{"augment/p": 0.8})) + "\n" for nimg in (8.0, 16.0)]
    if resumed:
        (tmp_path / "ticks.jsonl").write_text("".join(lines))
    with following(tmp_path, journal, params):
        (tmp_path / "ticks.jsonl").write_text("".join([*lines, json.dumps(row(24.0)) + "\n"]))
    (alarm,) = alarms(ticks([row(8.0, **{"augment/p": 0.8})]), params)
    assert [record["values"] for record in records(journal, "tags")] == [{"alarm/p-at-cap": alarm.text}]
    assert capsys.readouterr().out.count(f"alarm {alarm.text}\n") == (0 if resumed else 1)


def test_the_kernels_of_rank_0_are_told_and_recorded_once_in_each_start(
    tmp_path: Path, make_params: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, journal = tmp_path / "run", Journal(tmp_path / "run")
    for device in ("H100", "A100"):  # resumed on another card
        with following(folder, journal, make_params()):
            own = {"node": "n", "busy_sec_per_kimg": 1.0, "memory_gb": 1.0}
            ranks: list[Any] = [
                row(8.0) | {"own": own | {"kernels": f"kernels of {name}"}} for name in (device, "B200")
            ]
            for _ in range(2):
                TickLog(folder, None).after_report(None, ranks, None)
        shown = capsys.readouterr().out
        assert shown.count("kernels of") == 1
        assert f"kernels of {device}\n" in shown
    assert [record["values"] for record in records(journal, "tags")] == [
        {"kernels": "kernels of H100"}, {"kernels": "kernels of A100"},
    ]  # fmt: skip


def test_a_device_without_kernels_is_not_spoken_of(
    tmp_path: Path, make_params: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal(tmp_path)
    with following(tmp_path, journal, make_params()):
        own = {"node": "n", "kernels": None, "busy_sec_per_kimg": 1.0, "memory_gb": 1.0}
        TickLog(tmp_path, None).after_report(None, [row(8.0) | {"own": own}], None)
    assert "kernels" not in capsys.readouterr().out
    assert records(journal, "tags") == []
