"""Real signals to a real training: it saves, says in one line how to continue, and ends as an undisturbed one."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.faults.project import Project
from pipelines.artifacts import ticks
from pipelines.cluster.processes import orphans
from pipelines.params import load
from pipelines.train.identity import open_training_set
from stylegan.checkpoint import save_checkpoint
from stylegan.state import TrainState
from stylegan.train import train

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.long,
    pytest.mark.timeout(1500),  # of which a machine with other work on it took 400
]

LIMIT_SEC = 600
TRAIN = [sys.executable, "-m", "pipelines.train"]
REMEDY = f"To continue, run: {sys.executable} -m pipelines.train\n"
Running = "subprocess.Popen[str]"
Make = Callable[..., Project]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """make(override...) -> a project that may take all the time it needs to save its state; nothing of it survives"""
    made: list[Project] = []

    def project(*overrides: str) -> Project:
        found = Project(tmp_path, ("train.total_kimg=0.64", "cluster.num_workers=1", *overrides), TRAIN)
        source = found.folder / "pipelines" / "train" / "driver.py"
        text = source.read_text()
        assert text.count("SAVE_SEC = 20.0") == 1
        source.write_text(text.replace("SAVE_SEC = 20.0", f"SAVE_SEC = {LIMIT_SEC}.0"))
        made.append(found)
        return found

    yield project
    for each in made:
        if (driver := each.driver()) is not None:
            driver.kill()


def wait_for(what: Callable[[], Any], project: Project, process: Running) -> None:
    deadline = time.monotonic() + LIMIT_SEC
    while not what():
        assert process.poll() is None, said(project)
        assert time.monotonic() < deadline, said(project)
        time.sleep(0.05)


def said(project: Project) -> str:
    return (project.folder / "log.txt").read_text()


def num_ticks(project: Project) -> int:
    return len(ticks.read(project.run())) if list(project.folder.glob("runs/*/driver.lock")) else 0


def start(project: Project, more_ticks: int) -> Running:
    """Start a training and return once it has written more_ticks new ticks."""
    before, process = num_ticks(project), project.start()
    wait_for(lambda: num_ticks(project) >= before + more_ticks, project, process)
    return process


def undisturbed(project: Project) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """State and statistics of each tick that the same training ends with, in this process"""
    params = load(project.folder / "params.yaml")
    dataset = open_training_set(project.folder / "data" / "archive.zip", params)
    state = TrainState.create(
        params, img_resolution=dataset.resolution, img_channels=dataset.channels, c_dim=dataset.c_dim,
        device=torch.device("cpu"),
    )  # fmt: skip
    stats = [tick.stats for tick in train(state, dataset)]
    save_checkpoint(state, project.folder / "undisturbed.safetensors")
    return load_file(project.folder / "undisturbed.safetensors"), stats


def test_an_interrupted_and_terminated_run_saves_says_how_to_continue_and_ends_with_the_same_bits(make: Make) -> None:
    project = make()
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = start(project, more_ticks=2)
        process.send_signal(number)
        assert process.wait(LIMIT_SEC) == code, said(project)
        *_, last = said(project).splitlines(keepends=True)
        (saved,) = project.folder.glob("runs/*/checkpoints/leaving_*")
        kimg = int(saved.name.rpartition("_")[2]) / 1000
        assert last == f"Stopped: saved at kimg {kimg:g}. {REMEDY}"
        assert "Traceback" not in said(project)
        assert orphans(project.folder) == []
    assert project.start().wait(LIMIT_SEC) == 0, said(project)
    assert f"resuming from kimg {kimg:g}\n" in said(project)
    state, stats = undisturbed(project)
    (end,) = project.folder.glob("runs/*/checkpoints/nimg_000000640/state.safetensors")
    found = load_file(end)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
    rows = ticks.read(project.run())
    assert [{name: row.columns[name] for name in tick} for row, tick in zip(rows, stats, strict=True)] == stats
    assert json.loads((project.run() / "tracking.jsonl").read_text().splitlines()[-1])["status"] == "FINISHED"


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_process_group_ends_it_in_order(number: signal.Signals, make: Make) -> None:
    """As a terminal or a service manager sends it; Ray's node ends with SIGTERM, so no state can be saved then."""
    project = make("cluster.num_workers=2")
    process = start(project, more_ticks=5)
    os.killpg(process.pid, number)
    assert process.wait(LIMIT_SEC) == 128 + number, said(project)
    assert said(project).endswith(REMEDY)
    assert "Traceback" not in said(project)
    assert ("saved at" in said(project)) == (number == signal.SIGINT), said(project)


@pytest.mark.faults
def test_a_second_interrupt_ends_it_at_once_with_all_that_it_started(make: Make) -> None:
    project = make()
    process = start(project, more_ticks=5)
    driver = project.driver()
    assert driver is not None
    children = driver.children(recursive=True)
    project.workers()[0].suspend()  # it cannot save
    process.send_signal(signal.SIGINT)
    wait_for(lambda: "again to stop at once" in said(project), project, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_SEC) == 130, said(project)
    assert "Traceback" not in said(project)
    wait_for_none(children)


def wait_for_none(processes: list[Any]) -> None:
    deadline = time.monotonic() + LIMIT_SEC
    while any(process.is_running() and process.status() != "zombie" for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.05)
