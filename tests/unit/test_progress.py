"""Time left and speed, and the line that a training shows of them on a terminal of 80 columns."""

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from rich.console import Console

from pipelines.cluster.progress import Speed, duration
from pipelines.params import Params
from pipelines.sweep.standing import Standing
from pipelines.tracking.journal import Journal
from pipelines.train import pulse
from pipelines.train.follow import Follower, Place
from pipelines.train.pulse import Board, Position, Pulse

Make = Callable[..., Params]


@pytest.mark.parametrize(
    ("sec", "text"),
    [(-3, "0 s"), (0.4, "0 s"), (45, "45 s"), (60, "1 min"), (80, "1 min 20 s"), (3600, "1 h"), (12_000, "3 h 20 min"),
     (86_400, "1 d"), (183_700, "2 d 3 h"), (1e7, "115 d 17 h")],
)  # fmt: skip
def test_a_duration_is_told_in_its_two_largest_units(sec: float, text: str) -> None:
    assert duration(sec) == text


def test_a_steady_speed_is_told_exactly_and_a_change_gradually() -> None:
    speed = Speed()
    assert speed.sec_per_kimg is None
    for second in range(100):
        speed.add(second, 10 * second)
    assert speed.sec_per_kimg == pytest.approx(100)
    for second in range(100, 130):
        speed.add(second, 990 + 20 * (second - 99))
    assert 50 < speed.sec_per_kimg < 90
    for second in range(130, 2000):
        speed.add(second, 990 + 20 * (second - 99))
    assert speed.sec_per_kimg == pytest.approx(50, rel=0.01)  # six times SMOOTH_SEC later


def test_a_restart_behind_the_last_position_keeps_the_speed() -> None:
    speed = Speed()
    for second in range(100):
        speed.add(second, 10 * second)
    speed.add(1000, 50)
    assert speed.sec_per_kimg == pytest.approx(100)


def follower(folder: Path, params: Params, out: io.StringIO, place: Place | None = None) -> Follower:
    return Follower(folder, Journal(folder), params, Console(file=out), None, place)


def test_where_workers_begin_is_said_once(tmp_path: Path, make_params: Make) -> None:
    out = io.StringIO()
    shown = follower(tmp_path, make_params(), out)
    shown.look_at(Position(None, ()))
    shown.look_at(Position(0, (0,)))
    shown.look_at(Position(24, (0,)))
    shown.look_at(Position(20, (0, 20)))  # a worker died
    assert out.getvalue() == "starting from kimg 0\nresuming from kimg 0.02\n"


def test_a_row_of_several_has_its_place_and_the_time_for_all(tmp_path: Path, make_params: Make) -> None:
    out = io.StringIO()
    params = make_params("train.total_kimg=1000", "train.tick_kimg=4")
    shown = follower(tmp_path, params, out, Place(2, 4))
    assert shown._line(500_000, 72) == "row 2 of 4  kimg 500.0/1000  10 h left  72 sec/kimg  all rows: 2 d 2 h left"
    last = follower(tmp_path, params, out, Place(4, 4))
    assert last._line(500_000, 72) == "row 4 of 4  kimg 500.0/1000  10 h left  72 sec/kimg"


ON_TERMINAL = """
import json, sys, time
from pathlib import Path
from pipelines.params import load
from pipelines.tracking.journal import Journal
from pipelines.train import follow
from pipelines.train.pulse import Position
folder, params = Path(sys.argv[1]), load(Path(sys.argv[2]), sys.argv[3:])
positions = iter([Position(None, ()), *(Position(20000 + 96 * n, (20000,)) for n in range(10**6))])
follow._read = lambda board: next(positions)
follow.POLL_SEC = 0.01
row = {"sec": 2.0, "sec_per_kimg": 1234.5, "memory_gb": 12.5, "augment/p": 0.25, "augment/r_t": -0.31,
       "loss/G": 0.71, "loss/D": 1.32}
with follow.following(folder, Journal(folder), params, board="board"):
    for kimg in (20.0, 24.0):
        with (folder / "ticks.jsonl").open("a") as log:
            log.write(json.dumps(row | {"kimg": kimg, "nimg": 1000 * kimg}) + "\\n")
        time.sleep(1)
"""


def test_on_a_terminal_of_80_columns_one_line_moves_within_a_tick_and_ticks_stay_above_it(
    tmp_path: Path, repository: Path
) -> None:
    ours, theirs = pty.openpty()
    overrides = ("train.total_kimg=25000", "train.tick_kimg=4", "cluster.num_workers=1")
    command = [sys.executable, "-c", ON_TERMINAL, str(tmp_path), str(repository / "params.yaml"), *overrides]
    environment = os.environ | {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    process = subprocess.Popen(command, stdout=theirs, env=environment, cwd=repository)
    os.close(theirs)
    written = b""
    while True:
        try:
            written += (chunk := os.read(ours, 65536))
        except OSError:  # the other side is closed
            break
        if not chunk:
            break
    os.close(ours)
    assert process.wait() == 0
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode()))
    assert max(map(len, lines)) <= 80
    assert lines.count("resuming from kimg 20") == 1
    assert "waiting for Ray to start 1 worker" in lines
    moving = {line for line in lines if re.fullmatch(r"kimg 2\d\.\d/25000(  .* left  .* sec/kimg)?", line)}
    assert len(moving) > 5, lines
    history = [line for line in lines if "p 0.25" in line]
    assert [line.split()[1] for line in history] == ["20.0/25000", "24.0/25000"]
    assert all(re.match(r"kimg \S+  .*\d (d|h) left  .* sec/kimg  p 0.25  r_t -0.31  G 0.71  D", line)
               for line in history)  # fmt: skip


def test_a_sweep_tells_trials_that_are_over_and_run_and_the_time_left() -> None:
    standing = Standing(num_trials=4, total_kimg=1.0)
    assert standing.line() == "0 of 4 trials done, 0 running"
    for trial in ("a", "b"):
        standing.began(trial)
    for second in range(100):
        standing.look(second, {"a": 5 * second, "b": 5 * second})
    # 0.01 kimg each second, 0.99 of 4 are done.
    assert standing.line() == "0 of 4 trials done, 2 running, about 5 min 1 s of training left"
    standing.ended("a")  # by its scheduler, before its time
    assert standing.line() == "1 of 4 trials done, 1 running, about 4 min 10 s of training left"


class Direct:
    """Stands for the handle of an actor: a call happens here and now."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def __getattr__(self, name: str) -> object:
        class Method:
            remote = getattr(self.board, name)

        return Method


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of pulse; calls of a board return at once"""
    clock = [0.0]
    monkeypatch.setattr(pulse.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(pulse.ray, "get", lambda value, timeout: value)
    return clock


@pytest.mark.parametrize("sec_per_step", [0.01, 0.4, 7.0])
def test_a_worker_tells_its_position_every_second_or_step_and_hears_that_it_should_end(
    sec_per_step: float, at: list[float]
) -> None:
    board = Board()
    beat, beats = Pulse(Direct(board), 800, torch.device("cpu")), list[float]()
    assert board.read() == Position(800, (800,))
    told = 800
    for step in range(1, int(30 / sec_per_step)):
        at[0] += sec_per_step
        assert not beat.should_end(800 + step)
        if board.read().nimg != told:
            told = board.read().nimg or 0
            beats.append(at[0])
    assert max(later - sooner for sooner, later in pairwise(beats)) <= max(1.5, 1.01 * sec_per_step)
    assert len(beats) <= 40, "asking costs the time of a step"
    board.ask_to_end()
    heard = next(step for step in range(1, 1000) if beat.should_end(5000 + step))
    assert heard * sec_per_step <= max(1.5, sec_per_step)


def test_a_worker_without_a_board_or_whose_board_is_gone_trains_on(
    at: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not Pulse(None, 0, torch.device("cpu")).should_end(8)
    lost = Pulse(Direct(Board()), 0, torch.device("cpu"))

    def gone(value: object, timeout: float) -> None:
        raise TimeoutError

    monkeypatch.setattr(pulse.ray, "get", gone)
    at[0] += 10
    assert [lost.should_end(step) for step in range(10)] == [False] * 10
