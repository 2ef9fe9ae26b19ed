"""When workers are asked to begin again as more of them; tests/distributed/test_faults.py grows a real group."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pipelines.cluster import capacity
from pipelines.params import ClusterConfig, Params
from pipelines.train import growth
from pipelines.train.growth import Growth
from pipelines.train.pulse import Board

Make = Callable[..., Params]


class Direct:
    """A board whose calls return at once"""

    def __init__(self, board: Board) -> None:
        self.board = board

    def __getattr__(self, name: str) -> Any:
        class Method:
            remote = getattr(self.board, name)

        return Method


@pytest.fixture
def elastic(make_params: Make) -> ClusterConfig:
    overrides = ("cluster.address=head:6379", "cluster.num_workers=[1, 2]", "train.batch_size=8")
    return make_params(*overrides).cluster


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What each look for room will find; then there is none"""
    found: list[bool] = []
    monkeypatch.setattr(growth.ray, "get", lambda value, timeout: value)
    monkeypatch.setattr(growth, "RESIZE_SEC", 0.01)
    monkeypatch.setattr(capacity, "has_room_for_another", lambda cluster: bool(found) and found.pop(0))
    return found


def test_workers_that_are_asked_to_begin_again_end_once() -> None:
    board = Board()
    board.begin(0)
    board.ask_to_regroup()
    assert board.beat(8)
    board.begin(8, 2)
    assert not board.beat(16)
    assert board.read().num_workers == 2
    board.ask_to_end()
    board.begin(16, 2)
    assert board.beat(24), "who asked for the end of the training is not forgotten"


@pytest.mark.parametrize(("looks", "grows"), [([True, True], True), ([True, False, True, False], False)])
def test_room_that_is_seen_twice_in_turn_is_used(
    looks: list[bool], grows: bool, elastic: ClusterConfig, room: list[bool]
) -> None:
    room[:] = looks
    board = Board()
    board.begin(0, 1)
    with Growth(elastic, Direct(board)).watching():
        end = threading.Event()
        while room and not end.wait(0.01):
            pass
        end.wait(0.05)
    assert board.beat(8) == grows


def test_a_node_that_comes_and_goes_begins_training_again_once_in_half_an_hour_and_a_line_says_so(
    elastic: ClusterConfig, room: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, asked, said, board = [0.0], list[float](), list[str](), Board()
    monkeypatch.setattr(growth.time, "monotonic", lambda: clock[0])
    found = Growth(elastic, Direct(board), said.append)
    room[:] = [True] * 1000
    while clock[0] < 2 * 3600:
        board.begin(round(clock[0]), 1)  # with one worker again, for the other was lost
        found.look()
        if board.beat(0):
            asked.append(clock[0])
        clock[0] += 60
    assert asked == [60, 1860, 3660, 5460]
    line = "there is room for more workers again; they begin in "
    assert [text.startswith(line) for text in said] == [True] * 4
    assert said[0] == f"{line}28 min, as training has begun again with more of them less than 30 min ago"


def test_a_full_group_and_one_of_a_fixed_number_look_for_no_room(
    elastic: ClusterConfig, room: list[bool], make_params: Make
) -> None:
    room[:] = [True] * 1000
    board = Board()
    assert not growth.could_grow(elastic, Direct(board)), "none has begun"
    board.begin(0, 2)
    assert not growth.could_grow(elastic, Direct(board))
    with Growth(make_params("cluster.num_workers=1").cluster, None).watching():
        pass
    assert len(room) == 1000
