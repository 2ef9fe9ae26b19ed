"""Room of a controller that died, without Ray: given back also if Ray notes the death some seconds late."""

from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.exceptions import RayActorError

from pipelines.cluster import reserved

JOB, OTHER_JOB = bytes.fromhex("01000000"), bytes.fromhex("02000000")
DEAD, LIVING, NOBODY = b"\x01" * 16, b"\x02" * 16, b"\xff" * 16


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Groups that were given back; Ray notes the death between the second look and the third"""
    gone: list[bytes] = []
    looks = [0]

    def table() -> list[bytes]:
        looks[0] += 1
        found = [(b"a", DEAD, JOB), (b"b", LIVING, JOB), (b"c", NOBODY, JOB), (b"d", DEAD, OTHER_JOB)]
        return [
            PlacementGroupTableData(
                placement_group_id=name * 18, creator_actor_id=actor, creator_job_id=job,
                creator_actor_dead=actor == DEAD and looks[0] > 2,
                state=PlacementGroupTableData.REMOVED if name * 18 in gone else PlacementGroupTableData.CREATED,
            ).SerializeToString()
            for name, actor, job in found
        ]  # fmt: skip

    accessor = SimpleNamespace(get_placement_group_table=table)
    monkeypatch.setattr(reserved, "state", SimpleNamespace(_connect_and_get_accessor=lambda: accessor))
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_job_id=lambda: JOB.hex()))
    monkeypatch.setattr(reserved, "LOOK_SEC", 0.0)

    def remove(group: Any) -> None:
        gone.append(group.id.binary())

    monkeypatch.setattr(reserved, "remove_placement_group", remove)
    return gone


def test_the_note_of_a_death_is_waited_for_and_what_others_hold_stays(removed: list[bytes]) -> None:
    reserved.release_of_dead(RayActorError(actor_id=DEAD.hex()))
    assert removed == [b"a" * 18]


def test_an_actor_that_lives_on_is_not_waited_for_without_end(
    removed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserved, "NOTICE_SEC", 0.0)
    reserved.release_of_dead(RayActorError(actor_id=LIVING.hex()))
    assert removed == []
