"""Reads inputs in forked processes: each is watched, and killed when it takes too long, too much, or dies of it.

A process that was warmed up forks one for a batch of inputs, so that nothing is imported twice; the next batch gets
another, so that what an input leaves behind is gone with it.
"""

import contextlib
import gc
import io
import json
import os
import resource
import select
import shutil
import signal
import tempfile
import time
import traceback
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.hostile.containers import zeros
from benchmarks.hostile.guard import Watch, forget_peak, limit_address_space, load_on_demand, peak_bytes
from benchmarks.hostile.reader import Reader, write
from stylegan.config import ConfigError
from stylegan.exit_codes import is_expected
from stylegan.text import JOINERS

MAX_BYTES = 10**9  # that reading may add to the memory of a process
ROOM = 4 * MAX_BYTES  # of address space, so that a bomb does not take the machine with it
MAX_SEC = 10.0  # of processor time, with that of processes that were started
MAX_WAIT_SEC = 60.0  # without using any: it waits for something that does not come
BATCH = 100  # inputs for a process
COMMANDS = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # categories of Unicode: controls, marks that reorder lines, ends of lines
MAX_MESSAGE = 4200  # characters
FAILURES = ("executed", "traceback", "memory", "slow", "later", "message")
OUTCOMES = ("accepted", "refused", *FAILURES)


@dataclass(frozen=True)
class Outcome:
    """What became of one input."""

    reader: str
    number: int
    outcome: str  # of OUTCOMES
    detail: str = ""
    seconds: float = 0.0  # of processor time
    bytes: int = 0  # that reading added to the memory


def run(readers: Sequence[Reader], plan: Iterator[tuple[int, int]], seed: int) -> Iterator[Outcome]:
    """Outcomes of the inputs (row of readers, number) of a plan, in their order"""
    with tempfile.TemporaryDirectory(prefix="hostile") as name:
        scratch = Path(name)
        load_on_demand()
        zeros()
        for reader in readers:
            warm_up(reader, scratch / "warm")
        gc.collect()
        gc.freeze()  # no forked process has to look through what was imported
        while batch := [item for _, item in zip(range(BATCH), plan, strict=False)]:
            while batch:
                found = list(_read_batch(readers, batch, seed, scratch))
                yield from found
                batch = batch[len(found) :]


def warm_up(reader: Reader, folder: Path) -> None:
    """Read and use the valid files, so that what Python imports when it is needed first is no doing of an input.

    Raises what the reader raises: files that are not damaged have to be accepted.
    """
    write(reader.files, folder)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        reader.use(reader.read(folder))
    shutil.rmtree(folder)


def _read_batch(
    readers: Sequence[Reader], batch: Sequence[tuple[int, int]], seed: int, scratch: Path
) -> Iterator[Outcome]:
    """Outcomes of a process: of the whole batch, or up to the input that ended it"""
    source, target = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(source)
        _serve(readers, batch, seed, scratch, target)
    os.close(target)
    try:
        yield from _listen(readers, batch, source, pid)
    finally:
        os.close(source)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _listen(readers: Sequence[Reader], batch: Sequence[tuple[int, int]], source: int, pid: int) -> Iterator[Outcome]:
    buffer, rows = b"", iter(batch)
    for row, number in rows:
        reader, used, since = readers[row].name, 0.0, time.monotonic()
        begun: float | None = None
        while (count := buffer.count(b"\n")) < 2:
            ready = select.select([source], [], [], 0.2)[0]
            if ready:
                piece = os.read(source, 2**16)
                if not piece:
                    yield Outcome(reader, number, "traceback", "the process ended without a word (a crash)")
                    return
                buffer += piece
                continue
            now = _processor_sec(pid)
            if now > used + 0.01:
                used, since = now, time.monotonic()
            if count == 0:  # the input is being made
                since = time.monotonic()
                continue
            begun = used if begun is None else begun
            if used - begun > MAX_SEC or time.monotonic() - since > MAX_WAIT_SEC:
                is_busy = used - begun > MAX_SEC
                what = f"still reading after {MAX_SEC:g} s" if is_busy else f"waits for {MAX_WAIT_SEC:g} s"
                yield Outcome(reader, number, "slow", what, used - begun)
                return
            if _resident_bytes(pid) > 3 * MAX_BYTES + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024:
                yield Outcome(reader, number, "memory", "killed", used - begun, 3 * MAX_BYTES)
                return
        _, line, buffer = buffer.split(b"\n", 2)
        yield Outcome(reader, number, **json.loads(line))


def _processor_sec(pid: int) -> float:
    """Processor time of a process and of those that it started, also while they run"""
    total = 0.0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, IndexError):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total = sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        total += sum(_processor_sec(int(child)) for child in children)
    return total


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(FileNotFoundError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    return 0


def _serve(readers: Sequence[Reader], batch: Sequence[tuple[int, int]], seed: int, scratch: Path, target: int) -> None:
    """Read the inputs of a batch in this process, tell what happened, and end it."""
    try:
        folder = scratch / "input"
        folder.mkdir(exist_ok=True)
        os.chdir(scratch)
        os.dup2(os.open(os.devnull, os.O_RDWR), 2)  # C code may print there
        warnings.simplefilter("ignore")
        watch = Watch(scratch)
        limit_address_space(ROOM)
        for row, number in batch:
            write(readers[row].input(seed, number), folder)
            os.write(target, b"begun\n")
            found = asdict(read_one(readers[row], number, folder, watch))
            os.write(
                target,
                json.dumps({key: found[key] for key in ("outcome", "detail", "seconds", "bytes")}).encode() + b"\n",
            )
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def read_one(reader: Reader, number: int, folder: Path, watch: Watch) -> Outcome:
    """Read one input and use what was read."""
    before, start = forget_peak(), used_sec()
    with watch.watching(), contextlib.redirect_stdout(printed := io.StringIO()):
        outcome, detail = _attempt(reader, folder)
    seconds, grown = used_sec() - start, peak_bytes() - before
    if outcome in ("accepted", "refused") and not _is_clean(printed.getvalue(), lines=True):
        outcome, detail = "message", f"printed: {printed.getvalue()!r}"
    if grown > MAX_BYTES:
        outcome, detail = "memory", f"{grown / 1e9:.1f} GB more than before; {detail}"
    if seconds > MAX_SEC:
        outcome, detail = "slow", f"{seconds:.0f} s; {detail}"
    if watch.events:
        outcome, detail = "executed", f"{watch.events[0]}; {detail}"
    return Outcome(reader.name, number, outcome, detail.replace(str(folder), "INPUT")[:600], seconds, grown)


def used_sec() -> float:
    """Processor time of this process and of those that it started and that ended"""
    return sum(os.times()[:4])


def _attempt(reader: Reader, folder: Path) -> tuple[str, str]:
    phase = "read"
    try:
        product = reader.read(folder)
        phase = "use"
        reader.use(product)
    except MemoryError:
        return "memory", "MemoryError"
    except BaseException as error:  # safetensors' panics are no Exceptions
        text = str(error)
        if not isinstance(error, Exception) or not is_expected(error):
            return "later" if phase == "use" else "traceback", f"{_place(error)}: {type(error).__name__}: {text}"
        if phase == "use" and not reader.is_lazy:
            return "later", f"{_place(error)}: {type(error).__name__}: {text}"
        lines = reader.tells_all and isinstance(error, ConfigError)
        return "refused" if _is_clean(text, lines=lines) else "message", f"{type(error).__name__}: {text!r}"
    return "accepted", ""


def _is_clean(text: str, *, lines: bool) -> bool:
    """Whether a message is one line, or several, that no terminal takes for a command, and not endless"""
    parts = text.split("\n") if lines else [text]
    endless = len(text) > MAX_MESSAGE * (10 if lines else 1)
    letters = set("".join(parts)) - set(JOINERS)
    return not endless and not any(unicodedata.category(letter) in COMMANDS for letter in letters)


def _place(error: BaseException) -> str:
    """The last line of this project that an error came through"""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}benchmarks{os.sep}" not in f.filename]
    ours = [f for f in frames if any(f"{os.sep}{name}{os.sep}" in f.filename for name in ("stylegan", "pipelines"))]
    last: Any = (ours or frames or [None])[-1]
    return "?" if last is None else f"{Path(last.filename).name}:{last.lineno}"
