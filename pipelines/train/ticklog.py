"""The tick log of a run: written where Ray controls it, followed where the stage runs.

One JSON object a line. A tick that is replayed after a resume is not written twice, so the log of a run that was killed
and resumed has the same ticks as that of an uninterrupted one. A store holds a copy, for a run that is resumed from
another machine, in parts: nothing can be appended to a file there, and a tick should not send all ticks before it.
"""

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.train import Checkpoint, UserCallback

from pipelines.artifacts import json_lines
from pipelines.artifacts.artifact import ArtifactError
from pipelines.artifacts.ticks import LOG, TickRow, append, parse, read
from pipelines.cluster import store
from pipelines.cluster.errors import spoken
from pipelines.train.ranks import Report, kernels, merged, nodes
from stylegan.files import replacing, write_bytes

logger = logging.getLogger(__name__)
SAMPLES = "samples.png"  # in every snapshot
BEGINNING = "beginning"  # key of the report that brings the images before the first step
LEAVING = "leaving"  # begins the names of checkpoints that are no snapshots
NODES = "nodes.json"  # of the ranks at the last tick
KERNELS = "kernels.txt"  # the line on the kernels of rank 0's device, if it has any
FAILURES = "failures.jsonl"  # one failure of a worker a line
PARTS = "ticks"  # folder of the copy on a store
PART_TICKS = 64  # rows in a part


class TickLog(UserCallback):
    """Appends a row of the ranks' reports to ticks.jsonl, keeps the images of each snapshot, and notes failures.

    url: of the run on a store, which gets a copy of the log; None without a store.
    """

    def __init__(self, folder: Path, url: str | None) -> None:
        self.folder, self.url = folder, url
        self._last_nimg: float | None = None  # of the log; None until this process has looked
        self._part = 0  # byte of the log at which the open part begins; the first part of a process is the whole log

    def after_report(self, run_context: Any, metrics: list[Report], checkpoint: Checkpoint | None) -> None:
        if checkpoint is not None and Path(checkpoint.path).name.startswith(LEAVING):
            return  # its tick has been reported
        if BEGINNING in metrics[0]:
            with _warning("the first sample images"):
                write_bytes(self.folder / "samples" / f"{0:09d}.png", metrics[0][BEGINNING])
            return
        row = merged(metrics)
        with _warning(f"sample images or notes of kimg {row.kimg:.4g}"):
            self._keep_notes(row, metrics, checkpoint)
        self._append(row)
        if self.url is not None:
            try:
                self._copy(self.url)
            except store.StoreError as error:  # the next tick sends the same part, with its own row
                logger.warning("copy of the tick log: %s", error)

    def _keep_notes(self, row: TickRow, metrics: list[Report], checkpoint: Checkpoint | None) -> None:
        """What a run is shown by, and a training does without"""
        if found := nodes(metrics):
            with replacing(self.folder / NODES) as temporary:
                temporary.write_text(json.dumps(found))
        if line := kernels(metrics):
            with replacing(self.folder / KERNELS) as temporary:
                temporary.write_text(line)
        if checkpoint is not None:
            store.copy_out(checkpoint, SAMPLES, self.folder / "samples" / f"{row.nimg:09.0f}.png")

    def _append(self, row: TickRow) -> None:
        """Write a tick unless it is replayed. The log is read once: a tick costs the same however long it is."""
        path = self.folder / LOG
        if self._last_nimg is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            json_lines.drop_torn_line(path)
            self._last_nimg = max((logged.nimg for logged in read(self.folder)), default=-math.inf)
        if row.nimg > self._last_nimg:
            append(self.folder, row)
            self._last_nimg = row.nimg

    def _copy(self, url: str) -> None:
        """Send the open part of the log to the store, and begin another when it is full."""
        with (self.folder / LOG).open("rb") as log:
            log.seek(self._part)
            part = log.read()
        if part:
            first = parse(part.partition(b"\n")[0])
            store.write_bytes(part, store.join(url, PARTS, f"{first.nimg:012.0f}.jsonl"))
        if part.count(b"\n") >= PART_TICKS:
            self._part += len(part)

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        for rank, error in sorted(worker_exceptions.items()):
            json_lines.append(self.folder / FAILURES, {"rank": rank, "time": time.time(), "error": spoken(rank, error)})


@contextmanager
def _warning(what: str) -> Iterator[None]:
    """Turn a file that cannot be written or copied into a warning: nothing of the kind ends a training."""
    try:
        yield
    except (OSError, store.StoreError) as error:
        logger.warning("%s: not kept: %s", what, error)


def restore(folder: Path, url: str) -> None:
    """Take the log from the store where it is ahead of the one here: the run was trained on another machine.

    Raises StoreError.
    """
    copied = read_copy(url)
    if len(copied) > len(read(folder)):
        write_bytes(folder / LOG, b"".join(copied))


def read_copy(url: str) -> list[bytes]:
    """Lines of the log as the store has them; of rows that several parts have, the first.

    Raises StoreError, or ArtifactError for a line that is no tick.
    """
    lines, last_nimg = [], -math.inf
    for name in sorted(store.list_names(store.join(url, PARTS))):
        place = store.join(url, PARTS, name)
        for line in (store.read(place) or b"").splitlines(keepends=True):
            if (nimg := _nimg_of(line, place)) > last_nimg:
                lines.append(line)
                last_nimg = nimg
    return lines


def _nimg_of(line: bytes, url: str) -> float:
    try:
        return parse(line).nimg
    except (ValueError, AttributeError) as error:
        raise ArtifactError(
            f"{store.shown(url)}: a line of this copy of the tick log is damaged ({error}). Delete it; the machine "
            "that trained the run last has the log itself."
        ) from None


def read_failures(folder: Path) -> list[str]:
    """Failures of workers so far, oldest first"""
    return [str(failure.get("error")) for failure, _ in json_lines.read(folder / FAILURES)]


def read_nodes(folder: Path) -> list[str]:
    """Node of each rank at the last tick"""
    path = folder / NODES
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else []
    except (ValueError, RecursionError):
        return []  # the next tick writes it anew
    return [str(name) for name in found] if isinstance(found, list) else []


def read_kernels(folder: Path) -> str | None:
    """The line on the kernels of rank 0's device, once there is one"""
    path = folder / KERNELS
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
