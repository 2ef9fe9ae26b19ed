"""`cluster status` without a cluster; tests/distributed asks a real one."""

import io
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.cluster import __main__ as cluster
from pipelines.cluster import connection, status
from pipelines.cluster.status import Node, facts, node_table, run_table, spoken, warning
from pipelines.params import Params
from pipelines.tracking.journal import Journal
from pipelines.train.driver import exclusive

TICK = {"nimg": 4000, "kimg": 4.0, "sec_per_kimg": 2.5}


def printed(*content: object) -> list[list[str]]:
    """Cells of what a wide terminal shows"""
    text = io.StringIO()
    for each in content:
        Console(file=text, width=200).print(each)
    return [line.split() for line in text.getvalue().splitlines() if line.strip() and "\u2500" not in line]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A run with two ticks, the later written 90 s before the time 1090, and one that has none yet"""
    for name in ("aaa", "bbb"):
        with exclusive(tmp_path / name):
            pass
    log = tmp_path / "aaa" / "ticks.jsonl"
    log.write_text("".join(json.dumps(TICK | {"kimg": kimg}) + "\n" for kimg in (4.0, 8.0)))
    os.utime(log, (1000, 1000))
    (tmp_path / "features").mkdir()  # beside the runs, and none
    return tmp_path


def test_runs_show_their_last_tick_and_its_age(runs: Path) -> None:
    assert printed(run_table(runs, now=1090))[1:] == [["aaa", "8.0", "2.50", "1", "min", "ago"], ["bbb"]]


def test_a_run_that_ended_says_how_and_shows_its_lowest_kid(runs: Path) -> None:
    snapshots = ({"kimg": 4.0, "monitor/kid": 0.02}, {"kimg": 6.0}, {"kimg": 8.0, "monitor/kid": 0.01234567},
                 {"kimg": 12.0, "monitor/kid": 0.03}, {"kimg": 16.0, "monitor/kid": float("nan")})  # fmt: skip
    log = runs / "aaa" / "ticks.jsonl"
    log.write_text("".join(json.dumps(TICK | row) + "\n" for row in snapshots))
    os.utime(log, (1000, 1000))
    for name, last in (("aaa", "FINISHED"), ("bbb", "FAILED")):
        journal = Journal(runs / name)
        journal.status("RUNNING")
        journal.metrics(1, {"loss/G": 1.0})
        journal.status(last)
        journal.tags({"note": "after the end"})
    assert printed(run_table(runs, now=1090))[1:] == [
        ["aaa", "finished", "16.0", "2.50", "1", "min", "ago", "0.01235", "at", "8"], ["bbb", "failed"],
    ]  # fmt: skip


def test_a_run_recorded_as_running_that_nobody_here_trains_claims_no_end(runs: Path) -> None:
    Journal(runs / "bbb").status("RUNNING")
    assert printed(run_table(runs, now=1090))[2] == ["bbb"]


def test_a_run_that_trains_names_the_process(runs: Path) -> None:
    with exclusive(runs / "bbb"):
        assert printed(run_table(runs, now=1090))[2] == ["bbb", "process", str(os.getpid())]


@pytest.mark.parametrize(("sec", "text"), [(-1, "0 s"), (59.9, "60 s"), (60, "1 min"), (7300, "2 h"), (200_000, "2 d")])
def test_ages_are_spoken_in_one_unit(sec: float, text: str) -> None:
    assert spoken(sec) == text


def test_nodes_show_what_is_reserved_and_what_is_there() -> None:
    alive = Node("10.0.0.1", True, (2.0, 8.0), (1.0, 4.0), (3.25, 16.0), {"torch": "2.13.0"})
    silent, dead = (Node(f"10.0.0.{i}", i == 2, (0.0, 8.0), (0.0, 0.0), None, {}) for i in (2, 3))
    assert printed(node_table([alive, silent, dead]))[1:] == [
        ["10.0.0.1", "alive", "2", "/", "8", "1", "/", "4", "3.2", "/", "16.0", "torch", "2.13.0"],
        ["10.0.0.2", "alive", "0", "/", "8", "no", "answer"],
        ["10.0.0.3", "dead", "0", "/", "8"],
    ]


def test_another_version_is_named_with_the_remedy() -> None:
    node = Node("10.0.0.2", True, (0.0, 1.0), (0.0, 0.0), None, {"torch": "2.12.0", "ray": "2.60.0"})
    assert warning([node], {"torch": "2.13.0", "ray": "2.60.0"}) == (
        "10.0.0.2: torch 2.12.0 (here 2.13.0)\nAll nodes need the same versions: install constraints.txt on that node."
    )


def test_without_an_address_it_shows_this_machine_and_starts_no_ray(
    tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "connect", lambda config: pytest.fail("it asked for Ray"))
    text = io.StringIO()
    status.show(tiny_params.cluster, tmp_path / "runs", Console(file=text, width=200))
    shown = text.getvalue()
    assert f"/ {os.cpu_count()}" in shown
    assert all(f"{name} {number}" in shown for name, number in facts()[1].items())
    assert f"{tmp_path / 'runs'}: no runs yet." in shown


def test_nobody_at_the_address_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        assert cluster.main(["status", "--address", address]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {address}: cannot join that Ray cluster: [Errno 111] Connection")
    assert error.count("\n") == 1


@pytest.mark.parametrize("source", ["option", "params", "environment"])
def test_the_address_is_the_option_or_the_parameter_or_the_environment(
    source: str, monkeypatch: pytest.MonkeyPatch, make_params: Callable[..., Params]
) -> None:
    asked: list[str | None] = []
    params = make_params("cluster.address=null" if source == "environment" else "cluster.address=params:1")
    monkeypatch.setattr(status, "load", lambda path: params)
    monkeypatch.setattr(status, "show", lambda config, runs, console: asked.append(config.address))
    monkeypatch.setenv("RAY_ADDRESS", "environment:1")
    status.main(["--address", "option:1"] if source == "option" else [])
    assert asked == [f"{source}:1"]


def test_programs_read_nodes_and_runs_as_json(
    runs: Path, monkeypatch: pytest.MonkeyPatch, make_params: Callable[..., Params], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "load", lambda path: make_params("cluster.address=null"))
    monkeypatch.setattr(status, "ROOT", runs.rename(runs.with_name("runs")).parent)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert status.main(["--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [node["is_alive"] for node in answer["nodes"]] == [True]
    assert answer["runs"] == [
        {"name": "aaa", "pid": None, "last_tick": TICK | {"kimg": 8.0}},
        {"name": "bbb", "pid": None, "last_tick": None},
    ]


@pytest.mark.parametrize("arguments", [[], ["statsu"]])
def test_an_unknown_command_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cluster.main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("stylegan cluster: error: ")
    assert error.count("\n") == 1
