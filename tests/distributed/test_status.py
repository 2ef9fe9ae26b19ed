"""`cluster status` of a real cluster of two nodes."""

import io
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster
from rich.console import Console

from pipelines.cluster import status
from pipelines.params import Params

pytestmark = [
    pytest.mark.distributed,
]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Two nodes of 2 and 3 CPUs on this machine"""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    cluster.add_node(num_cpus=3)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_every_node_answers_with_its_cores_and_versions_and_a_lost_one_is_dead(
    cluster: Cluster, tiny_params: Params, tmp_path: Path
) -> None:
    ray.init(address=cluster.address, log_to_driver=False)

    @ray.remote(num_cpus=2)
    class Busy:
        def ready(self) -> None: ...

    busy = Busy.remote()
    ray.get(busy.ready.remote())
    found = status.nodes()
    assert sorted(node.cpus[1] for node in found) == [2, 3]
    assert sorted(node.cpus[0] for node in found) == [0, 2]
    assert all(node.is_alive and node.versions["Python"] == platform.python_version() for node in found)
    assert all(node.memory_gb is not None and 0 < node.memory_gb[0] < node.memory_gb[1] for node in found)
    assert status.warning(found, status.facts()[1]) == ""

    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    cluster.wait_for_nodes()
    assert sorted((node.cpus[1], node.is_alive) for node in status.nodes() if node.is_alive) == [(2, True)]
    text = io.StringIO()
    config = tiny_params.cluster.model_copy(update={"address": cluster.address})
    status.show(config, tmp_path / "runs", Console(file=text, width=200))
    assert text.getvalue().count("dead") == 1
