"""Under a real Ray: what a killed actor had reserved is given back, and nothing that others hold."""

import os
import signal

import pytest
import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table

from pipelines.cluster.connection import connect
from pipelines.cluster.reserved import release_of_dead
from pipelines.params import Params

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(600)]  # a busy machine starts Ray in minutes


class Controller:
    """Reserves room, as the controller of Ray Train does"""

    def reserve(self) -> PlacementGroup:
        group = placement_group([{"CPU": 0.5}])
        assert group.wait(60)
        return group

    def pid(self) -> int:
        return os.getpid()


def test_room_of_a_killed_controller_is_given_back_and_that_of_others_is_not(tiny_params: Params) -> None:
    with connect(tiny_params.cluster):
        killed, living = (ray.remote(num_cpus=0)(Controller).remote() for _ in range(2))
        groups = [ray.get(actor.reserve.remote()) for actor in (killed, living)]
        groups.append(Controller().reserve())
        os.kill(ray.get(killed.pid.remote()), signal.SIGKILL)
        with pytest.raises(ray.exceptions.RayActorError) as caught:
            ray.get(killed.pid.remote())
        release_of_dead(caught.value)
        found = [placement_group_table(group)["state"] for group in groups]
    assert found == ["REMOVED", "CREATED", "CREATED"]
