"""Workers again after a failure: what may pass is tried again, what would fail again ends at once.

Ray Train counts the failures of a whole run, those of its first week with those of its last, and ends with the process
that controls the workers. Here a failure of any of these processes ends an attempt, and those before it are forgotten
when there was progress since. Waiting for room is no failure.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import ray
from ray.exceptions import RayActorError
from ray.train import ControllerError, FailureConfig, TrainingFailedError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError

from pipelines.cluster import errors, reserved
from pipelines.cluster.store import StoreError
from stylegan.exit_codes import OURS, explain
from stylegan.text import print_lines, shorten, visible

R = TypeVar("R")
PAUSES_SEC = (0.0, 10.0, 60.0)  # after the first failure, the second, and each later one
# Of Ray itself: failures end an attempt. A node that is called back is none, and Ray continues without it.
FAILURES = FailureConfig(max_failures=0, controller_failure_limit=0)


@dataclass(frozen=True)
class Attempts:
    """How often work may fail, and what is said of it."""

    max_failures: int  # one after the other, without progress in between
    goes_on: Callable[[int], str]  # where it goes on after a failure, as a sentence, by its progress
    progress: Callable[[], int] = lambda: 0  # 0 also where it is not known
    say: Callable[[str], object] = print_lines
    asked_to_end: threading.Event = field(default_factory=threading.Event)  # then nothing is tried again

    def until_done(self, attempt: Callable[[], R]) -> R:
        """attempt() until it returns

        Raises LastingError at once, and what ended the last attempt that was allowed.
        """
        count, reached = 0, self.progress()
        while True:
            try:
                return attempt()
            except (TrainingFailedError, RayActorError, StoreError) as failure:
                if self.asked_to_end.is_set() or not ray.is_initialized():
                    raise
                if isinstance(failure, RayActorError):
                    reserved.release_of_dead(failure)
                if not _has_only_waited(failure):
                    now = self.progress()
                    count, reached = (1 if now > reached else count + 1), now or reached
                    self._excuse(failure, count, reached)
            if self.asked_to_end.wait(PAUSES_SEC[min(max(count, 1), len(PAUSES_SEC)) - 1]):
                raise errors.WorkerError("Asked to end before it was tried again.")

    def _excuse(self, failure: Exception, count: int, reached: int) -> None:
        """Say what failed and where it goes on. Raises what failed if it does not."""
        cause = _cause_of(failure)
        if isinstance(cause, errors.LastingError):
            raise cause from None
        if count > self.max_failures:
            raise _given_up(cause, count, self.max_failures) from failure
        for line in _lines(failure):
            self.say(line)
        self.say(f"{self.goes_on(reached)} Failure {count} of {self.max_failures} without progress in between.")


def _has_only_waited(failure: Exception) -> bool:
    return isinstance(failure, ControllerError) and isinstance(
        failure.controller_failure, WorkerGroupStartupTimeoutError
    )


def _cause_of(failure: Exception) -> Exception:
    if isinstance(failure, WorkerGroupError) and failure.worker_failures:
        return errors.cause_of(failure.worker_failures)
    cause = failure.controller_failure if isinstance(failure, ControllerError) else failure
    if isinstance(cause, StoreError):
        return cause
    # Of Ray's own errors none is known to last.
    is_known = isinstance(cause, OSError) or type(cause).__module__.partition(".")[0] in OURS
    kind = errors.LastingError if is_known and errors.is_lasting(cause) else errors.WorkerError
    return kind(_lines(failure)[0])


def _lines(failure: Exception) -> list[str]:
    """A line for each worker that failed, or one on the process that controls them"""
    if isinstance(failure, WorkerGroupError) and failure.worker_failures:
        return [errors.spoken(rank, error) for rank, error in sorted(failure.worker_failures.items())]
    cause = failure.controller_failure if isinstance(failure, ControllerError) else failure
    text = explain(cause) if isinstance(cause, OSError) else str(cause)
    said = shorten(visible(next((line for line in text.splitlines() if line.strip()), type(cause).__name__).strip()))
    if isinstance(cause, StoreError):
        return [said]
    what = "starting" if isinstance(cause, WorkerGroupStartupFailedError) else "the process that controls"
    return [f"{what} the workers: {said}"]


def _given_up(cause: Exception, count: int, max_failures: int) -> Exception:
    if isinstance(cause, StoreError):
        return cause
    times = "failed" if count == 1 else f"failed {count} times one after the other, without progress in between"
    return errors.WorkerError(
        f"{str(cause).rstrip('.')}. The work {times}; cluster.max_failures is {max_failures}. The same command tries "
        "again."
    )
