"""Damaged and hostile files for every reader, a short slice of `python -m benchmarks.hostile`."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.hostile import campaign, page
from benchmarks.hostile.campaign import FAILURES, OUTCOMES, Outcome, run
from benchmarks.hostile.mutations import mutate
from benchmarks.hostile.reader import Reader
from stylegan.tensor_files import CheckpointError

NUM_INPUTS = 500
SEED = 1
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_damaged_files_are_refused_in_one_line_or_are_of_use(tmp_path: Path) -> None:
    out = tmp_path / "hostile.json"
    options = ["--inputs", str(NUM_INPUTS), "--seed", str(SEED), "--keep", str(tmp_path / "kept"), "--out", str(out)]
    command = [sys.executable, "-m", "benchmarks.hostile", *options]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(out.read_text())["rows"]
    sums = {name: sum(row[name] for row in rows) for name in OUTCOMES}
    assert sum(sums.values()) == NUM_INPUTS
    assert not any(sums[name] for name in FAILURES)
    # Damage that nobody sees tests nothing, and so does damage that leaves nothing to read.
    assert min(sums["accepted"], sums["refused"]) > NUM_INPUTS / 5


def refuse(folder: Path) -> None:
    raise CheckpointError(f"{folder}: damaged. Use another one.")


def run_a_program(folder: Path) -> None:
    subprocess.run(["true"], check=True)


def write_elsewhere(folder: Path) -> None:
    (folder.parents[1] / "hostile_campaign_test").touch()
    (folder.parents[1] / "hostile_campaign_test").unlink()


def raise_another_error(folder: Path) -> None:
    raise KeyError("config")


def take_memory(folder: Path) -> bytes:
    return b"x" * 1_100_000_000


def wait(folder: Path) -> None:
    (folder / "pipe").open().read()


def compute_without_end(folder: Path) -> None:
    while True:
        pass


def crash(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def speak_of_many_lines(folder: Path) -> None:
    print("\x1b[2J")


@pytest.mark.parametrize(
    ("read", "outcome"),
    [
        (lambda folder: None, "accepted"), (refuse, "refused"), (run_a_program, "executed"),
        (write_elsewhere, "executed"), (raise_another_error, "traceback"), (crash, "traceback"),
        (take_memory, "memory"), (wait, "slow"), (compute_without_end, "slow"), (speak_of_many_lines, "message"),
    ],
)  # fmt: skip
def test_what_a_reader_must_not_do_is_seen(
    read: Callable[[Path], object], outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "MAX_SEC", 1.0)
    monkeypatch.setattr(campaign, "MAX_WAIT_SEC", 3.0)
    monkeypatch.setattr(campaign, "warm_up", lambda reader, folder: None)
    reader = Reader("a reader", "a group", {"pipe": ("fifo", "")}, read, lambda found: None, lambda files, rng: files)
    found = list(run([reader], iter([(0, 0), (0, 1)]), SEED))
    assert [each.outcome for each in found] == [outcome, outcome]  # of the second, after whatever the first did


def test_what_is_accepted_and_of_no_use_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "warm_up", lambda reader, folder: None)
    reader = Reader("a reader", "a group", {"a": b"x"}, lambda folder: folder, refuse)
    (found,) = run([reader], iter([(0, 0)]), SEED)
    assert isinstance(found, Outcome)
    assert found.outcome == "later"
    assert "INPUT: damaged" in found.detail


def test_the_same_seed_makes_the_same_damage() -> None:
    content = json.dumps({"a": [1, 2.5, "x"], "b": {"c": None}}).encode()
    made = [mutate(content, random.Random(seed)) for seed in range(50)]
    assert made == [mutate(content, random.Random(seed)) for seed in range(50)]
    assert len(set(made)) > 25


def test_the_page_shows_the_results() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.with_table(text, json.loads(page.RESULTS.read_text(encoding="utf-8"))) == text
