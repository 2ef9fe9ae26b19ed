"""`make stop` against real processes: it ends trainers and what Ray left of killed drivers, and nothing else."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pipelines.cluster import shutdown
from pipelines.cluster.processes import orphans, run_folders, trainer_of
from pipelines.train.driver import exclusive

DEAD = 4_194_305  # above the largest number of a process on Linux
SESSION = "session_2026-01-31_12-00-00_000001_{}"
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
    time.sleep(60)
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
def rays(start: Start, tmp_path: Path) -> Start:
    """rays(driver, title, cwd) -> a process that looks like Ray's and writes to the log of the driver's session"""

    def run(driver: int, title: str = "ray::IDLE", cwd: Path = tmp_path) -> subprocess.Popen[str]:
        logs = tmp_path / "ray" / SESSION.format(driver) / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        program = ["bash", "-c", f'exec -a "{title}" sleep 60']
        if title.endswith("raylet"):
            node = tmp_path / "ray/core/src/ray/raylet/raylet"
            node.parent.mkdir(parents=True)
            node.symlink_to("/bin/sleep")
            program = [str(node), "60"]
        with (logs / "worker.out").open("w") as log:
            process = start(program, cwd=cwd, stdout=log)
        _until(lambda: "bash" not in psutil.Process(process.pid).name())
        return process

    return run


def _until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        os.sched_yield()
    raise AssertionError("the process did not become what the test needs")


def said(root: Path, grace_sec: float = 10) -> list[str]:
    lines: list[str] = []
    shutdown.stop(root, grace_sec, lines.append)
    return lines


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here starts a node that takes a second to go."""
    monkeypatch.setattr(shutdown, "NODE_GOES_SEC", 0)


def test_nothing_to_stop_is_said(tmp_path: Path) -> None:
    assert said(tmp_path) == [f"Nothing trains in {tmp_path / 'runs'}, and Ray left no process of a killed driver."]


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
    other = start(["sleep", "60"])
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


def test_processes_of_a_session_whose_driver_is_gone_are_ended(rays: Start, tmp_path: Path) -> None:
    orphan = rays(DEAD)
    assert said(tmp_path) == [f"{SESSION.format(DEAD)}: driver {DEAD} is gone; ended 1 process(es) that it left."]
    assert not psutil.pid_exists(orphan.pid)


def test_a_worker_that_holds_a_file_of_a_run_is_an_orphan_wherever_it_was_started(start: Start, tmp_path: Path) -> None:
    root, logs = tmp_path / "root", tmp_path / SESSION.format(DEAD)
    (root / "runs" / "abc").mkdir(parents=True)
    logs.mkdir()
    with (root / "runs/abc/worker.lock").open("w") as lock, (logs / "worker.out").open("w") as log:
        command = ["bash", "-c", 'exec -a "ray::RayTrainWorker" sleep 60']
        worker = start(command, cwd=tmp_path, stdout=log, stderr=lock)
    _until(lambda: "bash" not in psutil.Process(worker.pid).name())
    assert [session.processes[0].pid for session in orphans(root)] == [worker.pid]
    assert orphans(tmp_path / "another") == []


def test_processes_of_a_living_driver_are_left_alone(rays: Start, tmp_path: Path) -> None:
    rays(os.getpid())
    assert orphans(tmp_path) == []


def test_a_driver_younger_than_its_session_is_another_process_of_the_same_number(
    rays: Start, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = rays(os.getpid())
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: 2.0 if process.pid == os.getpid() else 1.0)
    assert [session.processes[0].pid for session in orphans(tmp_path)] == [orphan.pid]


def test_a_session_with_a_running_node_is_a_cluster_and_left_alone(rays: Start, tmp_path: Path) -> None:
    rays(DEAD)
    rays(DEAD, "raylet")
    assert orphans(tmp_path) == []


def test_orphans_of_another_folder_are_left_alone(rays: Start, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    rays(DEAD, cwd=tmp_path / "elsewhere")
    assert orphans(tmp_path) == []


def test_a_program_that_reads_a_log_of_ray_is_left_alone(rays: Start, tmp_path: Path) -> None:
    rays(DEAD, title="tail")
    assert orphans(tmp_path) == []


def test_list_shows_and_ends_nothing(
    train: Start, rays: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process, orphan = train("abc"), rays(DEAD)
    monkeypatch.setattr(shutdown, "ROOT", tmp_path)
    shutdown.main(["--list"])
    assert capsys.readouterr().out.splitlines() == [
        f"runs/abc: process {process.pid} is training",
        f"{SESSION.format(DEAD)}: driver {DEAD} is gone and left 1 process(es)",
    ]
    assert (process.poll(), orphan.poll()) == (None, None)
