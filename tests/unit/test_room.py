"""The number of trials that run at once follows the nodes, within what the settings allow."""

from collections.abc import Callable
from typing import Any

import pytest

from pipelines.params import Params
from pipelines.sweep import room as rooms
from pipelines.sweep import space
from pipelines.sweep.room import Room

Make = Callable[..., Params]
Nodes = list[dict[str, Any]]


class Group:
    """A reservation that is granted or not"""

    is_granted = False

    def wait(self, seconds: float) -> bool:
        return self.is_granted


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Nodes of the cluster, which a test may change"""
    found: Nodes = [{"Resources": {"CPU": 2.0}}]
    monkeypatch.setattr(rooms, "alive", lambda: found)
    return found


def make_room(make_params: Make, *overrides: str) -> Room:
    params = make_params("sweep.cpus_per_worker=1.0", "sweep.gpus_per_worker=0.0", "sweep.workers_per_trial=1",
                         "sweep.max_concurrent_trials=4", "sweep.scheduler=none", *overrides)  # fmt: skip
    return Room(params.sweep, space.of_trial(params, {}).cluster, None)


def test_trials_are_as_many_as_nodes_hold_and_the_settings_allow(
    make_params: Make, nodes: Nodes, capsys: pytest.CaptureFixture[str]
) -> None:
    room = make_room(make_params)
    counts = []
    for cpus in (2.0, 2.0, 3.0, 8.0, 0.0):  # as nodes join and leave
        nodes[0]["Resources"]["CPU"] = cpus
        room.look()
        counts.append(room.search.max_concurrent)
    assert counts == [2, 2, 3, 4, 1]
    two, three, none = (
        f"there is room for {count} trials at once, of sweep.max_concurrent_trials 4; the others wait for their turn"
        for count in (2, 3, 0)
    )
    everyone = "there is room for all of sweep.max_concurrent_trials 4"
    assert capsys.readouterr().out.splitlines() == [two, three, everyone, none]


def test_room_for_all_is_not_mentioned(make_params: Make, nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    nodes[0]["Resources"]["CPU"] = 4.0
    room = make_room(make_params)
    room.look()
    assert (room.search.max_concurrent, capsys.readouterr().out) == (4, "")


def test_all_members_of_a_population_begin(make_params: Make, nodes: Nodes) -> None:
    room = make_room(make_params, "sweep.scheduler=pbt")
    room.look()
    assert room.search.max_concurrent == 4


def test_an_autoscaler_sees_one_more_trial_until_there_is_room_for_all(
    make_params: Make, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(rooms, "placement_group", lambda bundles: asked.append(bundles) or Group())
    monkeypatch.setattr(rooms, "remove_placement_group", lambda group: asked.append(None))
    room = make_room(make_params, "cluster.address=auto", "sweep.workers_per_trial=2", "train.batch_gpu=2")
    room.look()
    room.look()
    assert asked == [[{"CPU": 1.0}] * 2]
    monkeypatch.setattr(Group, "is_granted", True)
    room.look()  # a trial ended and left its place, which the next one gets
    assert asked == [[{"CPU": 1.0}] * 2, None]
    monkeypatch.setattr(Group, "is_granted", False)
    room.look()
    nodes.append({"Resources": {"CPU": 6.0}})
    room.look()
    assert (asked[2:], room.search.max_concurrent) == ([[{"CPU": 1.0}] * 2, None], 4)
    monkeypatch.setattr(rooms, "address_of", lambda cluster: None)
    nodes.pop()
    room.look()
    assert len(asked) == 4  # this machine does not grow
