"""Room that stays reserved when the process that controls workers is killed: Ray misses that without its dashboard."""

import time

import ray
from ray._private.state import state
from ray._raylet import PlacementGroupID
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.exceptions import RayActorError
from ray.util.placement_group import PlacementGroup, remove_placement_group

NOTICE_SEC, LOOK_SEC = 30.0, 0.2  # that Ray may need to note a death, and between looks


def release_of_dead(failure: RayActorError) -> None:
    """Give back what actors of this job reserved that have died, once Ray has noted that the one that failed did."""
    end = time.monotonic() + NOTICE_SEC
    while failure.actor_id in _release() and time.monotonic() < end:
        time.sleep(LOOK_SEC)


def _release() -> set[str]:
    """Give back what dead actors of this job hold, and return the actors that hold something and live

    The public table does not say whose a group is.
    """
    living = set()
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id()).binary()
    for raw in state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(raw)
        is_held = group.state != PlacementGroupTableData.REMOVED
        by_actor = group.creator_actor_id.strip(b"\xff") != b""  # else by the process that connected
        if not (is_held and by_actor and group.creator_job_id == job):
            continue
        if group.creator_actor_dead:
            remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))
        else:
            living.add(group.creator_actor_id.hex())
    return living
