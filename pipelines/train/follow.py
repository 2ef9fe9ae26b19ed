"""Shows and records every tick of a run while it trains, where the stage runs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live

from pipelines.artifacts.ticks import Row, read
from pipelines.diagnosis.alarms import Alarm, alarms
from pipelines.diagnosis.stragglers import slow_rank
from pipelines.params import Params
from pipelines.tracking.journal import Journal
from pipelines.tracking.recording import record_tick
from pipelines.train.ticklog import KERNELS, read_failures, read_kernels, read_nodes

POLL_SEC = 0.5


@contextmanager
def following(folder: Path, journal: Journal, params: Params) -> Iterator[None]:
    """Show and record every tick of a run while the block runs."""
    done = threading.Event()
    console = Console()
    view = Live(console=console, auto_refresh=False) if console.is_terminal else None
    told: set[str] = set()
    shown = failed = 0
    (folder / KERNELS).unlink(missing_ok=True)  # of an earlier process, perhaps on another device

    def catch_up(fresh: bool) -> None:
        nonlocal shown, failed
        if KERNELS not in told and (line := read_kernels(folder)):
            told.add(KERNELS)
            journal.tags({"kernels": line})
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        failures = read_failures(folder)
        for failure in failures[failed:] if fresh else []:
            console.print(f"{failure}\nTraining goes on from the last snapshot.", markup=False, soft_wrap=True)
        failed = len(failures)
        rows = read(folder)
        for row in rows[shown:]:
            _record(row, folder, journal, params, fresh)
            if fresh:
                _show(row, params, view)
        slow = slow_rank(rows, read_nodes(folder))
        for alarm in [*alarms(rows, params), *([] if slow is None else [slow])] if len(rows) > shown else []:
            if alarm.name not in told:
                told.add(alarm.name)
                _tell(alarm, journal, console, fresh)
        shown = len(rows)

    def loop() -> None:
        while not done.wait(POLL_SEC):
            catch_up(fresh=True)

    catch_up(fresh=False)
    thread = threading.Thread(target=loop, name="ticks", daemon=True)
    if view:
        view.start()
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        catch_up(fresh=True)
        if view:
            view.stop()


def _record(row: Row, folder: Path, journal: Journal, params: Params, fresh: bool) -> None:
    nimg = round(row["nimg"])
    values = {name: value for name, value in row.items() if name not in ("nimg", "kimg")}
    if fresh:
        record_tick(journal, nimg, values, params.tracking)
    else:  # the load of the machine belongs to the time when the tick happened
        journal.metrics(nimg, values)
    samples = folder / "samples" / f"{nimg:09d}.png"
    if samples.exists():
        journal.image("samples", nimg, samples.read_bytes())


def _show(row: Row, params: Params, view: Live | None) -> None:
    minutes, seconds = divmod(max(round((params.train.total_kimg - row["kimg"]) * row["sec_per_kimg"]), 0), 60)
    r = "r_v" if "augment/r_v" in row else "r_t"
    text = (
        f"kimg {row['kimg']:.1f}/{params.train.total_kimg:g}  {minutes}m{seconds:02d}s left  "
        f"{row['sec_per_kimg']:.2f} s/kimg  p {row['augment/p']:.3f}  {r} {row.get(f'augment/{r}', float('nan')):.2f}  "
        f"loss G {row.get('loss/G', float('nan')):.2f} D {row.get('loss/D', float('nan')):.2f}  "
        f"{row['memory_gb']:.2f} GB"
    )
    if view:
        view.update(text, refresh=True)
    else:
        print(text, flush=True)


def _tell(alarm: Alarm, journal: Journal, console: Console, fresh: bool) -> None:
    """Record an alarm, and show it if it is not from before this process."""
    journal.tags({f"alarm/{alarm.name}": alarm.text})
    if fresh:
        console.print(f"alarm {alarm.text}", highlight=False, soft_wrap=True)
