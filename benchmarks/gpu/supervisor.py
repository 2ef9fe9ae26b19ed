"""Runs each section in a process group of its own with a deadline, so that none takes another with it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

from benchmarks.gpu.child import SKIPPED
from benchmarks.gpu.job import Options
from stylegan.files import write_json

LINE = 170  # characters; longer lines are cut
TOTAL = 11_500  # characters of the whole call; 12,000 come back from a machine that is lent
TAIL = 600  # of them kept for the last lines
POLL_SEC = 0.1  # between looks at what a section said
LINES = 1000  # at most, at each look: a section may write faster than anybody reads
BURIAL_SEC = 5.0  # that a killed section may take to end
LEAST_SEC = 5.0  # a section with less is not started


@dataclass(frozen=True)
class Section:
    """A module with a function run(job), its share of the whole time, and of the characters that come back."""

    name: str
    module: str
    share: float
    characters: int


class Printer:
    """Prints lines up to a number of characters, of each section and of the whole call."""

    def __init__(self, total: int) -> None:
        self.left, self.section_left, self.dropped = total, total, 0

    def begin(self, characters: int) -> None:
        """Of the section that follows"""
        self.section_left, self.dropped = characters, 0

    def __call__(self, line: str, reserve: int = TAIL) -> None:
        line = line.rstrip()[:LINE]
        size = len(line) + 1
        if size > min(self.section_left, self.left - reserve):
            self.dropped += 1
            return
        self.left, self.section_left = self.left - size, self.section_left - size
        print(line, flush=True)


def supervise(sections: Sequence[Section], options: Options, seconds: float, report: dict[str, Any]) -> None:
    """Run them in order within so many seconds in all; the report is on disk after each.

    Adds report["sections"]: of each its status (done, failed, timeout or skipped), reason, seconds and results.
    """
    printer, started, path = Printer(TOTAL), time.monotonic(), Path(options.out) / "gpu.json"
    report["sections"] = {}
    for line in head(report):
        printer(line)
    for section in sections:
        left = seconds - (time.monotonic() - started)
        printer.begin(section.characters)
        found = run_section(section, options, min(seconds * section.share, left), printer)
        report["sections"][section.name] = found
        write_json(path, report)
        lost = f", {printer.dropped} lines not shown" if printer.dropped else ""
        printer.begin(TOTAL)
        reason = f": {found['reason']}" if found["reason"] else ""
        printer(f"== {section.name}: {found['status']} after {found['seconds']:.0f} s{lost}{reason}")
    states = [f"{name} {found['status']}" for name, found in report["sections"].items()]
    printer(f"== {time.monotonic() - started:.0f} s, {path}: {', '.join(states)}", reserve=0)


def head(report: dict[str, Any]) -> Iterator[str]:
    """The machine in a line or two"""
    facts = [f"{name} {value}" for name, value in report["machine"].items() if value is not None]
    text = ", ".join(facts)
    yield from (text[start : start + LINE] for start in range(0, len(text), LINE))


def run_section(section: Section, options: Options, limit_sec: float, printer: Printer) -> dict[str, Any]:
    """Status, reason, seconds and results of one section"""
    if limit_sec < LEAST_SEC:
        return {"status": "skipped", "reason": f"less than {LEAST_SEC:g} s left", "seconds": 0.0, "results": {}}
    printer(f"== {section.name} (at most {limit_sec:.0f} s)")
    started = time.monotonic()
    with TemporaryDirectory() as folder:
        results, told, errors = (Path(folder) / name for name in ("results.jsonl", "told.txt", "errors.txt"))
        command = [sys.executable, "-m", "benchmarks.gpu.child", section.module, str(results)]
        command += [str(started + limit_sec), json.dumps(asdict(options))]
        # Files, because a pipe would be held open by whatever a section leaves behind.
        with told.open("w") as stdout, errors.open("w") as stderr, _group(command, stdout, stderr) as process:
            code = _wait(process, limit_sec, told, printer)
        status, reason = _outcome(code, errors.read_text(errors="replace"))
        found = nested(results.read_text().splitlines() if results.exists() else [])
    return {"status": status, "reason": reason, "seconds": time.monotonic() - started, "results": found}


@contextmanager
def _group(command: Sequence[str], stdout: IO[str], stderr: IO[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own; whatever is left of the group is killed in the end."""
    process = subprocess.Popen(command, stdout=stdout, stderr=stderr, start_new_session=True)
    try:
        yield process
    finally:
        _kill(process)
        with suppress(subprocess.TimeoutExpired):  # a process that waits for a driver cannot be killed
            process.wait(BURIAL_SEC)


def _wait(process: subprocess.Popen[bytes], limit_sec: float, told: Path, printer: Printer) -> int | None:
    """Exit status, None if the limit came first; prints what the section says meanwhile"""
    end, code = time.monotonic() + limit_sec, process.poll()
    with told.open(errors="replace") as lines:
        while code is None and time.monotonic() < end:
            time.sleep(POLL_SEC)
            code = process.poll()
            _print_whole_lines(lines, printer)
        _print_whole_lines(lines, printer)
    return code


def _print_whole_lines(lines: IO[str], printer: Printer) -> None:
    """What was written since the last call, but for a line that is not yet whole"""
    for _ in range(LINES):
        start = lines.tell()
        line = lines.readline()
        if not line.endswith("\n"):
            lines.seek(start)
            return
        printer(line)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _outcome(code: int | None, errors: str) -> tuple[str, str | None]:
    """Status and reason: the last line of stderr, where Python writes what went wrong"""
    told = [line.strip() for line in errors.splitlines() if line.strip()]
    last = told[-1][: 2 * LINE] if told else None
    if code == 0:
        return "done", None
    if code is None:
        return "timeout", "its time was over; what it recorded is kept"
    if code == SKIPPED:
        return "skipped", last
    return "failed", last or (f"killed by signal {-code}" if code < 0 else f"exit status {code}")


def nested(lines: Sequence[str]) -> dict[str, Any]:
    """Recorded values by their paths; a last line that was cut is left out"""
    result: dict[str, Any] = {}
    for line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        *above, name = row["path"]
        node = result
        for key in above:
            node = node.setdefault(key, {})
        node[name] = row["value"]
    return result
