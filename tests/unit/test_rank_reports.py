"""What each rank says of itself: its name before what it prints, its part of the log, and which node is slow."""

import io
import sys
from typing import Any

import pytest

from pipelines.artifacts.ticks import TickRow
from pipelines.cluster import errors
from pipelines.cluster.errors import WorkerError, named, spoken
from pipelines.diagnosis.stragglers import slow_rank
from pipelines.diagnosis.thresholds import SLOW_TICKS
from pipelines.train.ranks import merged, nodes
from pipelines.train.ticklog import FAILURES, TickLog, read_failures


@pytest.fixture(autouse=True)
def rank_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "name", lambda: "rank 1 of 2 on 10.0.0.7, process 12")


def report(busy: float, node: str, **load: float) -> dict[str, Any]:
    own = {"node": node, "busy_sec_per_kimg": busy, "memory_gb": busy / 10, "load": load}
    return {"nimg": 8.0, "kimg": 0.008, "loss/G": 0.5, "own": own}


def test_every_line_that_a_worker_prints_begins_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with named():
        print("one\ntwo", "three")
        print("four", end="")
    print("five")
    prefix = "[rank 1 of 2 on 10.0.0.7, process 12] "
    assert stream.getvalue() == f"{prefix}one\n{prefix}two three\n{prefix}fourfive\n"


def test_the_error_of_a_worker_names_rank_and_node() -> None:
    with pytest.raises(WorkerError) as caught, named():
        raise RuntimeError("Timed out")
    assert str(caught.value) == "rank 1 of 2 on 10.0.0.7, process 12: RuntimeError: Timed out"


def test_failures_are_noted_in_the_words_of_the_worker_or_of_ray(tmp_path: Any) -> None:
    words = "rank 1 of 2 on 10.0.0.7, process 12: RuntimeError: x"
    wrapped = f"Traceback:\n  line\npipelines.cluster.errors.WorkerError: {words}\n"
    assert spoken(1, Exception(wrapped)) == words
    ray = (
        "A worker health check failed.\nWorker info: Worker(actor=x, metadata=ActorMetadata(hostname='vm', node_ip="
        "'10.0.0.7', pid=12, ))\nThe actor is dead. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
        "unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the OOM killer"
    )
    found = spoken(0, Exception(ray))
    assert found == (
        "rank 0 on 10.0.0.7, process 12: Worker unexpectedly exits with a connection error code 2. End of file."
    )
    assert spoken(0, Exception("The actor died.\n  pid: 7")) == "rank 0: The actor died."
    assert spoken(3, ValueError()) == "rank 3: ValueError"
    TickLog(tmp_path, None).after_exception(None, {1: Exception("b"), 0: Exception("a")})
    TickLog(tmp_path, None).after_exception(None, {2: Exception("c")})
    assert read_failures(tmp_path) == ["rank 0: a", "rank 1: b", "rank 2: c"]
    assert (tmp_path / FAILURES).read_text().count("\n") == 3


def test_the_row_of_several_ranks_holds_their_extremes_and_the_load_of_other_nodes() -> None:
    reports = [report(2.0, "n0"), report(4.0, "n1", **{"system/gpu_0_utilization_percentage": 50.0}), report(3.0, "n1")]
    assert merged(reports).columns == {
        "nimg": 8.0, "kimg": 0.008, "loss/G": 0.5, "ranks/count": 3, "ranks/busy_sec_per_kimg_min": 2.0,
        "ranks/busy_sec_per_kimg_median": 3.0, "ranks/busy_sec_per_kimg_max": 4.0, "ranks/memory_gb_min": 0.2,
        "ranks/memory_gb_max": 0.4, "ranks/slowest": 1, "system/n1/gpu_0_utilization_percentage": 50.0,
    }  # fmt: skip
    assert nodes(reports) == ["n0", "n1", "n1"]


def test_one_rank_or_a_replayed_row_has_nothing_to_compare() -> None:
    assert merged([report(2.0, "n0")]).columns == {"nimg": 8.0, "kimg": 0.008, "loss/G": 0.5}
    replayed = {"nimg": 8.0, "kimg": 0.008}
    assert (merged([replayed, replayed]).columns, nodes([replayed, replayed])) == (replayed, [])


def rows(*busy: tuple[float, ...]) -> list[TickRow]:
    return [
        merged([report(sec, f"n{rank}") | {"kimg": index + 1.0} for rank, sec in enumerate(tick)])
        for index, tick in enumerate(busy)
    ]


def test_a_rank_that_keeps_the_others_waiting_is_named_with_its_node_and_a_remedy() -> None:
    alarm = slow_rank(rows(*[(2.0, 2.1, 3.3)] * SLOW_TICKS), ["n0", "n1", "n2"])
    assert alarm is not None
    assert alarm.text == (
        "slow-node-2: At kimg 3 rank 2 on n2 takes 3.3 s for 1000 images of its own, the others 2.1. All wait for it: "
        "other work, a hot or another GPU, a slow disk. Look at n2 (`python -m pipelines.cluster status`); "
        "`ray drain-node` takes it out, and training continues on other nodes."
    )


@pytest.mark.parametrize(
    "busy",
    [
        [(2.0, 3.3)] * (SLOW_TICKS - 1),
        [(2.0, 2.9)] * SLOW_TICKS,
        [(2.0, 3.3), (3.3, 2.0), (2.0, 3.3)],  # in turn
        [(2.0, 3.3), (2.0, 2.0), (2.0, 3.3)],
        [(2.0,)] * SLOW_TICKS,
    ],
)
def test_short_small_or_changing_differences_are_no_alarm(busy: list[tuple[float, ...]]) -> None:
    assert slow_rank(rows(*busy), ["n0", "n1"]) is None


def test_on_one_machine_no_node_is_slow() -> None:
    assert slow_rank(rows(*[(2.0, 3.3)] * SLOW_TICKS), ["n0", "n0"]) is None
