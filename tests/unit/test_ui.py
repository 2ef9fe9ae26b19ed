"""Opening MLflow's comparison of runs."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.tracking import ui


def test_the_page_compares_runs_in_the_mode_for_training() -> None:
    expected = "http://host/#/experiments/7/runs?compareRunsMode=CHART&workflowType=machine_learning"
    assert ui.comparison("http://host/", "7") == expected


def test_the_page_may_open_a_saved_view() -> None:
    assert ui.saved_view("http://host/", "7", "ARTIFACT", "a b") == (
        "http://host/#/experiments/7/runs?compareRunsMode=ARTIFACT&workflowType=machine_learning&viewStateShareKey=a%20b"
    )


def test_the_page_is_printed_and_opened_only_where_wanted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    ui.show("http://a", browser=False)
    ui.show("http://b", browser=True)
    assert capsys.readouterr().out == "\nCompare runs: http://a\n\n\nCompare runs: http://b\n\n"
    assert opened == ["http://b"]


def test_a_taken_port_is_named_with_the_remedy(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError) as error:
            ui.serve("sqlite:////unused.db", "1", port, browser=False, root=tmp_path)
    assert str(error.value) == (
        f"port {port} is taken, perhaps by an interface that is already open: look at http://127.0.0.1:{port}, "
        "or pass another --port."
    )


def test_a_server_that_ends_is_not_waited_for() -> None:
    ended = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with ended, pytest.raises(RuntimeError) as error:
        ui.wait_until_up("http://127.0.0.1:9", ended)
    assert str(error.value) == "the MLflow server ended with status 3; its last lines say why."


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ui, "START_SEC", 0.3)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as server:
        with pytest.raises(RuntimeError) as error:
            ui.wait_until_up("http://127.0.0.1:9", server)
        server.kill()
    assert str(error.value) == "http://127.0.0.1:9: the MLflow server gave no answer in 0.3 s. Look at its lines above."
