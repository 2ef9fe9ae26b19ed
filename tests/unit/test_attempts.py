"""What ends a training and what does not: failures that last or pass, waiting for room, progress between failures."""

from collections.abc import Callable, Iterator

import pytest
import torch
from ray.exceptions import RayActorError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import (
    UserExceptionWithTraceback,
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
)

from pipelines.artifacts.artifact import ArtifactError
from pipelines.cluster import attempts, errors
from pipelines.cluster.attempts import Attempts
from pipelines.cluster.errors import LastingError, WorkerError, named
from pipelines.cluster.store import StoreError
from stylegan.config import ConfigError
from stylegan.data import ArchiveError
from stylegan.tensor_files import CheckpointError

ServiceRequestError = type("ServiceRequestError", (Exception,), {"__module__": "azure.core.exceptions"})
WHO = "rank 1 of 2 on 10.0.0.7, process 12"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "name", lambda: WHO)
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr(attempts, "PAUSES_SEC", (0.0,))


def raised_in_a_worker(error: Exception, rank: int = 1) -> WorkerGroupError:
    """As Ray hands it to the process that trains"""
    with pytest.raises((WorkerError, StoreError)) as caught, named():
        raise error
    return WorkerGroupError("pages", {rank: UserExceptionWithTraceback(caught.value, "pages of a traceback")})


def dead_worker() -> WorkerGroupError:
    return WorkerGroupError("pages", {0: RayActorError()})


def failing(*failures: Exception) -> Callable[[], str]:
    """An attempt that raises these, one after the other, and then is done"""
    left = list(failures)

    def attempt() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return attempt


def following(positions: list[int]) -> Callable[[], int]:
    """Progress as it is asked for, the last one again and again"""
    iterator: Iterator[int] = iter(positions)
    last = [0]

    def progress() -> int:
        last[0] = next(iterator, last[0])
        return last[0]

    return progress


def attempts_of(max_failures: int, lines: list[str], *positions: int) -> Attempts:
    return Attempts(max_failures, lambda nimg: f"On from {nimg}.", following(list(positions)), lines.append)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        ArchiveError("data/archive.zip: entry 3 is cut"), ConfigError("train.batch_gpu is 3"),
        CheckpointError("state: damaged"), FileNotFoundError(2, "No such file or directory", "archive.zip"),
        OSError(28, "No space left on device", "state"), KeyError("missing"),
    ],
)  # fmt: skip
def test_what_would_fail_again_ends_the_training_at_once_in_one_line(error: Exception) -> None:
    lines: list[str] = []
    with pytest.raises(LastingError) as caught:
        attempts_of(3, lines).until_done(failing(raised_in_a_worker(error)))
    assert str(caught.value).startswith(f"{WHO}: {type(error).__name__}: ")
    assert "\n" not in str(caught.value)
    assert lines == [], "nothing goes on"
    assert ("Set train.batch_gpu lower" in str(caught.value)) == ("memory" in str(error) or error.args == ())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer"), ConnectionResetError(104, "reset"),
        TimeoutError("no answer"), OSError(5, "Input/output error"), torch.distributed.DistBackendError("NCCL error"),
        ServiceRequestError("no route"),
    ],
)  # fmt: skip
def test_what_may_pass_is_tried_again_and_said_with_where_it_goes_on(error: Exception) -> None:
    lines: list[str] = []
    assert attempts_of(3, lines, 24).until_done(failing(raised_in_a_worker(error))) == "done"
    failure, on = lines
    assert failure.startswith(f"{WHO}: {type(error).__name__}: ")
    assert on == "On from 24. Failure 1 of 3 without progress in between."


def test_one_rank_out_of_memory_ends_it_whatever_the_others_stumble_over() -> None:
    others = {
        0: UserExceptionWithTraceback(WorkerError("rank 0: Connection closed by peer"), ""),
        1: UserExceptionWithTraceback(LastingError("rank 1: OutOfMemoryError"), ""),
    }
    with pytest.raises(LastingError, match="rank 1: OutOfMemoryError"):
        attempts_of(3, []).until_done(failing(WorkerGroupError("pages", others)))


def test_losses_over_weeks_are_survived_if_there_is_progress_between_them() -> None:
    lines: list[str] = []
    weeks = attempts_of(1, lines, *range(0, 800, 8))
    assert weeks.until_done(failing(*(dead_worker() for _ in range(60)))) == "done"
    assert {line.partition(". ")[2] for line in lines[1::2]} == {"Failure 1 of 1 without progress in between."}


def test_losses_without_progress_end_it_with_the_last_of_them() -> None:
    lines: list[str] = []
    with pytest.raises(WorkerError) as caught:
        attempts_of(2, lines, 8).until_done(failing(*(dead_worker() for _ in range(3))))
    assert str(caught.value).endswith(
        "The work failed 3 times one after the other, without progress in between; cluster.max_failures is 2. The same "
        "command tries again."
    )
    assert sum(line.startswith("On from 8.") for line in lines) == 2, "not after the last"


def test_waiting_for_room_is_no_failure() -> None:
    lines: list[str] = []
    waited = [ControllerError(WorkerGroupStartupTimeoutError(2)) for _ in range(50)]
    assert attempts_of(0, lines).until_done(failing(*waited)) == "done"
    assert lines == []


def test_the_death_of_the_process_that_controls_the_workers_is_a_failure_like_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []
    released: list[str] = []
    monkeypatch.setattr("pipelines.cluster.reserved.release_of_dead", lambda _: released.append("what it reserved"))
    assert attempts_of(1, lines, 16).until_done(failing(RayActorError())) == "done"
    assert released == ["what it reserved"]
    assert lines[0].startswith("the process that controls the workers: ")
    assert lines[1] == "On from 16. Failure 1 of 1 without progress in between."


def test_a_store_that_stays_away_is_told_in_its_own_words() -> None:
    with pytest.raises(StoreError, match=r"^no bucket$"):
        attempts_of(0, []).until_done(failing(raised_in_a_worker(StoreError("no bucket"))))


def test_a_store_that_comes_back_between_two_attempts_costs_a_failure_and_no_training() -> None:
    lines: list[str] = []
    away = StoreError("s3://bucket: the store cannot be reached.")
    assert attempts_of(2, lines, 24, 24, 0).until_done(failing(dead_worker(), away)) == "done"
    assert lines[2:] == [str(away), "On from 24. Failure 2 of 2 without progress in between."]


def test_a_store_that_does_not_say_where_a_run_is_makes_no_progress_of_the_next_answer() -> None:
    with pytest.raises(WorkerError, match="failed 4 times one after the other"):
        attempts_of(3, [], 24, 0, 24, 0, 24).until_done(failing(*(dead_worker() for _ in range(5))))


@pytest.mark.parametrize(
    ("cause", "kind", "line"),
    [
        (OSError(28, "No space left on device", "ticks.jsonl"), LastingError, "the process that controls the workers: "
         "ticks.jsonl: No space left on device. Free space on its disk, then give the same command again."),
        (ArtifactError("ticks.jsonl: line 3"), LastingError, "the process that controls the workers: ticks.jsonl: "
         "line 3"),
        (OSError(5, "Input/output error"), WorkerError, "the process that controls the workers: "),
        (WorkerGroupStartupFailedError("no port"), WorkerError, "starting the workers: no port. The work failed 2"),
        (StoreError("no bucket"), StoreError, "no bucket"),
    ],
)  # fmt: skip
def test_what_fails_where_the_workers_are_controlled_is_told_and_tried_again_if_it_may_pass(
    cause: Exception, kind: type[Exception], line: str
) -> None:
    lines: list[str] = []
    with pytest.raises(kind) as caught:
        attempts_of(1, lines).until_done(failing(ControllerError(cause), ControllerError(cause)))
    assert type(caught.value) is kind
    assert str(caught.value).startswith(line)
    assert len(lines) == (0 if kind is LastingError else 2)


def test_nothing_is_tried_again_after_it_was_asked_to_end() -> None:
    asked = attempts_of(3, [])
    asked.asked_to_end.set()
    with pytest.raises(WorkerGroupError):
        asked.until_done(failing(dead_worker()))


def test_nothing_is_tried_again_if_it_was_asked_to_end_in_the_pause_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PAUSES_SEC", (30.0,))
    begun: list[int] = []

    def attempt() -> None:
        begun.append(1)
        raise dead_worker()

    asked = Attempts(3, str, say=lambda line: asked.asked_to_end.set())
    with pytest.raises(WorkerError):
        asked.until_done(attempt)
    assert begun == [1]
