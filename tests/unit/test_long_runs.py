"""25,000 kimg in 6,250 ticks, without the training: what logs, shows, records and sends them costs the same per tick
at the end as at the beginning, and keeps nothing of the ticks in memory."""

import gc
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from ray.train import Checkpoint
from rich.console import Console

from pipelines.artifacts import json_lines, ticks
from pipelines.cluster import store
from pipelines.drawing.samples import num_columns, num_samples
from pipelines.params import Params
from pipelines.tracking.journal import Journal
from pipelines.tracking.publisher import Publisher
from pipelines.train.follow import Follower
from pipelines.train.ticklog import PART_TICKS, SAMPLES, TickLog, read_copy
from stylegan.images import save_png

NUM_TICKS, SNAPSHOT_TICKS, TICK_NIMG = 6250, 50, 4000
EARLY, LATE = 500, 6000  # ticks after which costs are compared
SHARE = ("loss/G", "loss/D", "loss/r1_penalty", "logits/real", "logits/gen", "augment/p", "augment/r_t")


class Server:
    """Takes what a tracking server takes."""

    def __init__(self) -> None:
        self.points = self.pictures = 0

    def log_batch(self, run_id: str, metrics: Any = (), **_: Any) -> None:
        self.points += len(metrics)

    def log_image(self, *_: Any, **__: Any) -> None:
        self.pictures += 1


class Costs:
    """What a tick costs: records that are parsed, and bytes that are sent to the store."""

    def __init__(self) -> None:
        self.records = self.sent = 0


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Costs]:
    found, record_of, write_bytes = Costs(), json_lines.record_of, store.write_bytes

    def parse(line: bytes) -> Any:
        found.records += 1
        return record_of(line)

    def send(content: bytes, url: str) -> None:
        found.sent += len(content)
        write_bytes(content, url)

    monkeypatch.setattr(json_lines, "record_of", parse)
    monkeypatch.setattr(store, "write_bytes", send)
    return found


@pytest.fixture
def publisher(tmp_path: Path, make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch) -> Publisher:
    """A publisher of the run's journal whose server takes everything"""
    found = Publisher(Journal(tmp_path / "run"), make_params().tracking, tmp_path)
    found._client = Server()  # type: ignore[assignment]
    found._run_id = "run"
    return found


def row_at(nimg: int) -> dict[str, Any]:
    shares = {name: 0.25 + index / 7 for index, name in enumerate(SHARE)}
    own = {"node": "n", "busy_sec_per_kimg": 150.0, "memory_gb": 9.0, "load": {}, "kernels": None}
    return {"nimg": float(nimg), "kimg": nimg / 1000, "sec": 600.0, "sec_per_kimg": 150.0, "own": own, **shares}


@pytest.mark.long
def test_a_tick_of_a_long_run_costs_the_same_at_its_end_and_leaves_nothing_in_memory(
    tmp_path: Path, make_params: Callable[..., Params], costs: Costs, publisher: Publisher
) -> None:
    folder, url = tmp_path / "run", (tmp_path / "store").as_uri()
    params = make_params("train.total_kimg=25000", "train.tick_kimg=4")
    snapshot = tmp_path / "snapshot"
    save_png(torch.zeros(3, 32, 32, dtype=torch.uint8), snapshot / SAMPLES)
    log = TickLog(folder, url)
    screen = io.StringIO()
    follower = Follower(folder, publisher.journal, params, Console(file=screen, width=80), None)
    seen: dict[int, tuple[int, int, int, int]] = {}
    for index in range(1, NUM_TICKS + 1):
        checkpoint = Checkpoint.from_directory(snapshot) if index % SNAPSHOT_TICKS == 0 else None
        log.after_report(None, [row_at(index * TICK_NIMG)] * 2, checkpoint)
        follower.catch_up(fresh=True)
        publisher.publish()
        screen.truncate(screen.seek(0))
        if index in (EARLY, EARLY + PART_TICKS, LATE, LATE + PART_TICKS):
            gc.collect()
            seen[index] = (costs.records, costs.sent, len(gc.get_objects()), psutil.Process().memory_info().rss)
            print(f"tick {index}: {seen[index]} records parsed, bytes sent, objects, bytes of memory")
    early, late = ([b - a for a, b in zip(seen[at], seen[at + PART_TICKS], strict=True)] for at in (EARLY, LATE))
    assert late[0] <= early[0] + 2, "records parsed in 64 ticks"
    assert late[1] <= 1.1 * early[1], "bytes sent to the store in 64 ticks"
    num_snapshots = (LATE - EARLY) // SNAPSHOT_TICKS
    assert seen[LATE][2] - seen[EARLY][2] < 20 * num_snapshots, "objects that stay, of 5,500 ticks"
    assert seen[LATE][3] - seen[EARLY][3] < 20 * 2**20, "bytes of memory, of 5,500 ticks"
    assert len(ticks.read(folder)) == len(read_copy(url)) == NUM_TICKS
    server: Any = publisher._client
    assert server.pictures == NUM_TICKS // SNAPSHOT_TICKS
    assert server.points >= NUM_TICKS * len(SHARE)


@pytest.mark.parametrize("resolution", [16, 32, 64, 128, 256, 512, 1024, 2048])
def test_the_sheet_of_a_snapshot_holds_at_most_ten_million_pixels(resolution: int) -> None:
    assert num_samples(resolution) == num_columns(resolution) ** 2
    assert num_samples(resolution) * resolution**2 <= 10e6
