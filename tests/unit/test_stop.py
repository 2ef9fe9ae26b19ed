"""`make stop` against real processes: it ends trainers and what Ray left of killed drivers, and nothing else."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pipelines.cluster import ownership, shutdown
from pipelines.cluster.ownership import KEEPS_ENVIRONMENT, MARK, Owner, marked, owner_of, this_process
from pipelines.cluster.processes import orphans, run_folders, trainer_of
from pipelines.train.driver import exclusive

DEAD = 4_194_305  # above the largest number of a process on Linux
TRAINER = """
import os, signal, sys, time
from pathlib import Path
from filelock import FileLock
folder, stubborn = Path(sys.argv[1]), sys.argv[2] == "stubborn"
if stubborn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with FileLock(folder / "driver.lock"):
    (folder / "pid").write_text(str(os.getpid()))
    print("holds", flush=True)
    time.sleep(600)
"""
RAYS = """
import sys, time
if sys.argv[1] == "title":  # written over arguments, and unless told otherwise over the environment behind them
    from ray._raylet import setproctitle
    setproctitle("ray::IDLE")
print("runs", flush=True)
time.sleep(600)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """start(arguments, ...) -> a process that does not outlive the test"""
    processes: list[subprocess.Popen[str]] = []

    def run(arguments: list[str], **options: object) -> subprocess.Popen[str]:
        processes.append(subprocess.Popen(arguments, text=True, **options))  # type: ignore[call-overload]
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


@pytest.fixture
def train(start: Start, tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """train(name, how) -> a process that holds runs/<name>"""

    def run(name: str, how: str = "polite") -> subprocess.Popen[str]:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        process = start([sys.executable, "-c", TRAINER, str(folder), how], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        return process

    return run


@pytest.fixture
def rays(start: Start) -> Start:
    """rays(owner, ...) -> a process that has said that it runs, marked as of a Ray that `owner` started"""

    def run(owner: Owner | None, title: str = "") -> subprocess.Popen[str]:
        mark = {} if owner is None else KEEPS_ENVIRONMENT | {MARK: str(owner)}
        process = start([sys.executable, "-c", RAYS, title], stdout=subprocess.PIPE, env=os.environ | mark)
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        return process

    return run


def said(root: Path, grace_sec: float = 10) -> list[str]:
    lines: list[str] = []
    shutdown.stop(root, grace_sec, lines.append)
    return lines


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here leaves a Ray that goes by itself."""
    monkeypatch.setattr(shutdown, "RAY_GOES_SEC", 0)


def test_nothing_to_stop_is_said(tmp_path: Path) -> None:
    assert said(tmp_path) == [f"Nothing trains in {tmp_path / 'runs'}, and Ray left no process of a killed driver."]


@pytest.mark.parametrize("kind", ["sweeps", "ladders"])
def test_a_driver_that_starts_runs_is_ended_before_the_run_that_it_trains(
    kind: str, tmp_path: Path, train: Callable[..., "subprocess.Popen[str]"]
) -> None:
    (run, driver), name = (train("abc"), train(f"{kind}/demo")), f"{kind}/demo"
    listed: list[str] = []
    shutdown.show(tmp_path, listed.append)
    assert [line.partition(":")[0] for line in listed] == [f"runs/{name}", "runs/abc"]
    first, second = said(tmp_path)
    assert first.startswith(f"runs/{name}: process {driver.pid} ended after ")
    assert second.startswith(f"runs/abc: process {run.pid} ended after ")
    assert not psutil.pid_exists(driver.pid)
    assert not psutil.pid_exists(run.pid)


def test_the_stage_itself_is_seen_as_trainer_while_it_holds_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "abc"
    with exclusive(folder):
        trainer = trainer_of(folder)
        assert trainer is not None
        assert trainer.pid == os.getpid()
    assert trainer_of(folder) is None
    assert run_folders(tmp_path / "runs") == [folder]


def test_a_trainer_ends_on_sigterm_and_the_run_is_free(train: Start, tmp_path: Path) -> None:
    process = train("abc")
    (line,) = said(tmp_path)
    assert re.fullmatch(
        rf"runs/abc: process {process.pid} ended after \d\.\d s. The same command resumes the run.", line
    )
    assert not psutil.pid_exists(process.pid)
    with exclusive(tmp_path / "runs" / "abc"):
        pass


def test_a_trainer_that_ignores_sigterm_is_killed_after_the_grace_time(train: Start, tmp_path: Path) -> None:
    process = train("abc", "stubborn")
    assert said(tmp_path, grace_sec=0.2) == [
        f"runs/abc: process {process.pid} did not end within 0.2 s and was killed. The same command resumes the run."
    ]
    assert not psutil.pid_exists(process.pid)


def test_every_run_that_trains_is_stopped(train: Start, tmp_path: Path) -> None:
    processes = [train(name) for name in ("a", "b")]
    assert [line.split(":")[0] for line in said(tmp_path)] == ["runs/a", "runs/b"]
    assert not any(psutil.pid_exists(process.pid) for process in processes)


def test_a_process_that_only_has_the_number_of_an_old_trainer_is_left_alone(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "abc"
    with exclusive(folder):
        pass
    other = start(["sleep", "600"])
    (folder / "pid").write_text(str(other.pid))
    assert said(tmp_path) == [f"Nothing trains in {tmp_path / 'runs'}, and Ray left no process of a killed driver."]
    assert other.poll() is None


@pytest.mark.parametrize("text", ["", "soon", str(DEAD)])
def test_a_pid_that_names_nobody_is_no_trainer(text: str, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "abc"
    with exclusive(folder):
        pass
    (folder / "pid").write_text(text)
    assert trainer_of(folder) is None


def gone(root: Path) -> Owner:
    """A driver that is dead"""
    return Owner(DEAD, 1.5, root)


@pytest.mark.parametrize("title", ["", "title"])
def test_processes_whose_driver_is_gone_are_ended_whatever_they_are_called(
    title: str, rays: Start, tmp_path: Path
) -> None:
    orphan = rays(gone(tmp_path), title)
    assert said(tmp_path) == [f"driver {DEAD} is gone; ended 1 process of Ray that it left."]
    assert not psutil.pid_exists(orphan.pid)


def test_processes_of_a_living_driver_are_left_alone(rays: Start, tmp_path: Path) -> None:
    rays(this_process(tmp_path))
    assert orphans(tmp_path) == []


def test_a_process_that_only_has_the_number_of_the_driver_is_another(rays: Start, tmp_path: Path) -> None:
    owner = Owner(os.getpid(), psutil.Process().create_time() - 1, tmp_path)
    orphan = rays(owner)
    assert [[process.pid for process in left.processes] for left in orphans(tmp_path)] == [[orphan.pid]]


def test_what_each_driver_left_is_told_apart(rays: Start, tmp_path: Path) -> None:
    first, second = (rays(Owner(DEAD + number, float(number), tmp_path)) for number in (1, 2))
    found = [(left.driver_pid, [process.pid for process in left.processes]) for left in orphans(tmp_path)]
    assert found == [(DEAD + 1, [first.pid]), (DEAD + 2, [second.pid])]


def test_processes_of_another_folder_and_of_no_owner_are_left_alone(rays: Start, tmp_path: Path) -> None:
    """A cluster that somebody started to stay, and a program that reads a log of Ray, have no owner."""
    rays(gone(tmp_path / "elsewhere"))
    rays(None, "title")
    assert orphans(tmp_path) == []


def test_processes_that_may_not_be_looked_at_are_left_alone(
    rays: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of another user."""
    rays(gone(tmp_path))

    def refused(process: psutil.Process) -> None:
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "environ", refused)
    assert orphans(tmp_path) == []


@pytest.mark.parametrize("mark", ["", "1", "1:2", "soon:2:/", "1:soon:/"])
def test_a_mark_that_says_nothing_has_no_owner(mark: str, start: Start) -> None:
    process = start(["sleep", "600"], env=os.environ | {MARK: mark})
    assert owner_of(psutil.Process(process.pid)) in (None, Owner(1, 2.0, Path()))


def test_only_what_starts_in_the_block_is_marked(start: Start) -> None:
    with marked():
        inside = start(["sleep", "600"])
    outside = start(["sleep", "600"])
    assert owner_of(psutil.Process(inside.pid)) == this_process()
    assert owner_of(psutil.Process(outside.pid)) is None
    ownership.end_own()
    assert inside.wait(60) == -9
    assert outside.poll() is None


def test_list_shows_and_ends_nothing(
    train: Start, rays: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process, orphan = train("abc"), rays(gone(tmp_path))
    monkeypatch.setattr(shutdown, "ROOT", tmp_path)
    shutdown.main(["--list"])
    assert capsys.readouterr().out.splitlines() == [
        f"runs/abc: process {process.pid} is training",
        f"driver {DEAD} is gone and left 1 process of Ray",
    ]
    assert (process.poll(), orphan.poll()) == (None, None)
