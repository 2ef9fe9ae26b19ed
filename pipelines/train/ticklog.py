"""The tick log of a run: written where Ray controls it, followed where the stage runs.

One JSON object a line. A tick that is replayed after a resume is not written twice, so the log of a run that was killed
and resumed has the same ticks as that of an uninterrupted one. A store holds a copy, for a run that is resumed from
another machine.
"""

import json
import logging
import time
from pathlib import Path
from typing import Any

from ray.train import Checkpoint, UserCallback

from pipelines.artifacts.ticks import LOG, Row, read
from pipelines.cluster import store
from pipelines.cluster.errors import spoken
from pipelines.train.ranks import kernels, merged, nodes
from stylegan.files import replacing

logger = logging.getLogger(__name__)
SAMPLES = "samples.png"  # in every snapshot
LEAVING = "leaving"  # begins the names of checkpoints that are no snapshots
NODES = "nodes.json"  # of the ranks at the last tick
KERNELS = "kernels.txt"  # the line on the kernels of rank 0's device, if it has any
FAILURES = "failures.jsonl"  # one failure of a worker a line


class TickLog(UserCallback):
    """Appends a row of the ranks' reports to ticks.jsonl, keeps the pictures of each snapshot, and notes failures.

    url: of the run on a store, which gets a copy of the log; None without a store.
    """

    def __init__(self, folder: Path, url: str | None) -> None:
        self.folder, self.url = folder, url

    def after_report(self, run_context: Any, metrics: list[Row], checkpoint: Checkpoint | None) -> None:
        if checkpoint is not None and Path(checkpoint.path).name.startswith(LEAVING):
            return  # its tick has been reported
        row = merged(metrics)
        if found := nodes(metrics):
            with replacing(self.folder / NODES) as temporary:
                temporary.write_text(json.dumps(found))
        if line := kernels(metrics):
            with replacing(self.folder / KERNELS) as temporary:
                temporary.write_text(line)
        if checkpoint is not None:
            store.copy_out(checkpoint, SAMPLES, self.folder / "samples" / f"{row['nimg']:09.0f}.png")
        rows = read(self.folder)
        if not rows or row["nimg"] > rows[-1]["nimg"]:
            with replacing(self.folder / LOG) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in [*rows, row]))
        if self.url is not None:
            try:
                store.upload(self.folder / LOG, store.join(self.url, LOG))
            except store.StoreError as error:  # the next tick sends the whole log again
                logger.warning("copy of the tick log: %s", error)

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        with (self.folder / FAILURES).open("a") as file:
            for rank, error in sorted(worker_exceptions.items()):
                file.write(json.dumps({"rank": rank, "time": time.time(), "error": spoken(rank, error)}) + "\n")


def restore(folder: Path, url: str) -> None:
    """Take the log from the store where it is ahead of the one here: the run was trained on another machine.

    Raises StoreError.
    """
    content = store.read(store.join(url, LOG))
    if content is not None and content.count(b"\n") > len(read(folder)):
        with replacing(folder / LOG) as temporary:
            temporary.write_bytes(content)


def read_failures(folder: Path) -> list[str]:
    """Failures of workers so far, oldest first"""
    path = folder / FAILURES
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["error"] for line in lines if line.endswith("\n")]


def read_nodes(folder: Path) -> list[str]:
    """Node of each rank at the last tick"""
    path = folder / NODES
    return list(json.loads(path.read_text())) if path.exists() else []


def read_kernels(folder: Path) -> str | None:
    """The line on the kernels of rank 0's device, once there is one"""
    path = folder / KERNELS
    return path.read_text() if path.exists() else None
