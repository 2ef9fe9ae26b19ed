"""Room that stays reserved when the process that controls workers is killed: Ray misses that without its dashboard."""

import ray
from ray._private.state import state
from ray._raylet import PlacementGroupID
from ray.core.generated.gcs_pb2 import PlacementGroupTableData
from ray.util.placement_group import PlacementGroup, remove_placement_group


def release_of_dead() -> None:
    """Give back what actors of this job reserved that have died; the public table does not say whose a group is."""
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id()).binary()
    for raw in state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(raw)
        is_held = group.state != PlacementGroupTableData.REMOVED
        by_actor = group.creator_actor_id.strip(b"\xff") != b""  # else by the process that connected
        if is_held and by_actor and group.creator_actor_dead and group.creator_job_id == job:
            remove_placement_group(PlacementGroup(PlacementGroupID(group.placement_group_id)))
