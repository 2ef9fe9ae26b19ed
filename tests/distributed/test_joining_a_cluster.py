"""`connect` and a real Ray cluster that somebody else started: joined by its address, refused when its nodes differ."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from pipelines.cluster import versions
from pipelines.cluster.connection import connect
from pipelines.cluster.versions import HERE, ClusterError
from pipelines.params import Params

pytestmark = [
    pytest.mark.distributed,
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        yield cluster
        cluster.shutdown()


def test_ray_address_names_the_cluster_and_leaving_does_not_end_it(
    cluster: Cluster, tiny_params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    for _ in range(2):
        with connect(tiny_params.cluster):
            assert ray.get_runtime_context().gcs_address == cluster.address
    assert not ray.is_initialized()


def test_a_node_with_another_torch_is_refused_by_its_name(
    cluster: Cluster, tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "torch-2.12.0.dist-info" / "METADATA"  # what pip leaves of an older one
    record.parent.mkdir()
    record.write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.12.0\n")
    node = cluster.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(tmp_path)})
    address = tiny_params.cluster.model_copy(update={"address": cluster.address})
    with pytest.raises(ClusterError) as caught, connect(address):
        pass
    first, problem, remedy = str(caught.value).splitlines()
    assert first == "the nodes of the cluster do not run the same:"
    here = versions._probe()(())["torch"]
    assert problem.startswith("  ")
    assert problem.endswith(f": torch 2.12.0 (here {here})")
    assert remedy.endswith("`ray up` with the cluster's file does both.")
    assert not ray.is_initialized()
    cluster.remove_node(node)


def test_every_node_answers(cluster: Cluster, tiny_params: Params) -> None:
    with connect(tiny_params.cluster.model_copy(update={"address": cluster.address})):
        assert len(versions.check()) == 2
        assert HERE in versions.check()
