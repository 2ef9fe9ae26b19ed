"""pipelines.cluster.signals with real signals to real processes."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import psutil
import pytest

from pipelines.cluster import signals
from pipelines.cluster.signals import Stopped, command, interruptible, kept, stop_on_signals

HEAD = """
import signal, sys, time, subprocess
from pipelines.cluster.signals import *
def say(line): print(line, flush=True)
"""
WAITS = HEAD + "with stop_on_signals():\n    say('ready')\n    time.sleep(600)\n"
SAVES = HEAD + (
    "import threading\nasked = threading.Event()\n"
    "with stop_on_signals():\n"
    "    result, stop = interruptible(lambda: say('ready') or asked.wait() and 'saved', asked.set, 600)\n"
    "    stop.reached = result\n    raise stop\n"
)
CANNOT_SAVE = HEAD + (
    "child = subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
    "with stop_on_signals():\n"
    "    interruptible(lambda: say(child.pid) or time.sleep(600), lambda: say('asked'), 600)\n"
)
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """start(code) -> a process that runs it and has written its first line, which is its `first`"""
    processes: list[subprocess.Popen[str]] = []

    def run(code: str, **options: object) -> "subprocess.Popen[str]":
        process = subprocess.Popen(  # type: ignore[call-overload]
            [sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
        )
        processes.append(process)
        process.first = process.stdout.readline().strip()
        return process  # type: ignore[no-any-return]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_block_with_one_line_and_the_code_that_shells_know(
    number: signal.Signals, code: int, start: Start
) -> None:
    process = start(WAITS)
    process.send_signal(number)
    out, error = process.communicate()
    assert (process.returncode, out) == (code, "")
    begins = f"Stopped. To continue, run: {shlex.join([sys.executable, '-c'])} "
    assert (error.startswith(begins), error.count("\n")) == (True, 1)
    argument = subprocess.run(["bash", "-c", f"printf %s {error.removeprefix(begins)}"], capture_output=True, text=True)
    assert argument.stdout == WAITS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_work_that_is_interrupted_may_save_and_says_so(number: signal.Signals, start: Start) -> None:
    process = start(SAVES)
    process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == 128 + number
    assert error.startswith("Stopped: saved. To continue, run: ")


def test_work_is_asked_to_end_by_a_signal_that_comes_while_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(thread: threading.Thread) -> None:
        threading.Thread.start(thread)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(signals._Work, "start", begin)
    asked = threading.Event()
    with stop_on_signals():
        result, stop = interruptible(lambda: "saved" if asked.wait(60) else "not asked", asked.set, 60)
    assert result == "saved"
    assert stop is not None
    assert stop.number == signal.SIGTERM


def test_a_second_interrupt_ends_the_process_and_its_children_at_once(start: Start) -> None:
    process = start(CANNOT_SAVE)
    child = psutil.Process(int(process.first))  # type: ignore[attr-defined]
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGTERM)  # sent twice by those that end whole groups: not a wish to hurry
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    gone, alive = psutil.wait_procs([child], timeout=60)
    assert (gone, alive) == ([child], [])


def test_signals_that_the_process_ignores_stay_ignored(start: Start) -> None:
    code = WAITS.replace("with stop", "signal.signal(signal.SIGHUP, signal.SIG_IGN)\nwith stop")
    process = start(code)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143


def test_handlers_are_put_back_inside_and_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals():
        ours = signal.getsignal(signal.SIGTERM)
        with stop_on_signals(), kept():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as ray.init does
        assert signal.getsignal(signal.SIGTERM) is ours
    assert signal.getsignal(signal.SIGTERM) is before
    with kept():
        pass
    assert signal.getsignal(signal.SIGTERM) is before


def test_work_returns_or_raises_as_if_it_ran_here() -> None:
    with stop_on_signals():
        thread, stopped = interruptible(threading.current_thread, lambda: None, 0)
        assert thread is not threading.main_thread()
        assert stopped is None
        with pytest.raises(ZeroDivisionError):
            interruptible(lambda: 1 / 0, lambda: None, 0)
    assert interruptible(threading.current_thread, lambda: None, 0) == (threading.main_thread(), None)


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        ("train", "make repro"),
        ("sweep", "make sweep"),
        ("sweep/dvc.yaml:sweep", "make sweep"),
        ("ablate/dvc.yaml:ablate@stylegan2", "make ablate LADDER=stylegan2"),
    ],
)
def test_a_stage_is_continued_by_the_target_that_a_person_types(
    stage: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_STAGE", stage)
    assert command() == expected
    stop = Stopped(signal.SIGTERM)
    stop.reached = "saved at kimg 1"
    assert str(stop) == f"Stopped: saved at kimg 1. To continue, run: {expected}"


def test_without_a_stage_the_command_itself_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "pipelines.train", "train.seed=[1, 2]"])
    assert command() == "python -m pipelines.train 'train.seed=[1, 2]'"


def test_a_forked_child_ends_as_it_always_did(start: Start) -> None:
    code = HEAD + (
        "import os\n"
        "with stop_on_signals():\n"
        "    child = os.fork()\n"
        "    if not child:\n        say('ready')\n        time.sleep(600)\n"
        "    number, status = os.waitpid(child, 0)\n"
        "    say(f'{number} {os.WTERMSIG(status)}')\n"
    )
    process = start(code)
    (child,) = psutil.Process(process.pid).children()
    os.kill(child.pid, signal.SIGTERM)
    out, error = process.communicate()
    assert (out, error) == (f"{child.pid} {signal.SIGTERM.value}\n", "")


def test_watched_are_what_a_person_a_service_and_a_closed_terminal_send() -> None:
    assert signals.WATCHED == (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
