"""Differences between nodes, and addresses that nobody answers at; tests/distributed asks real nodes."""

import socket
from pathlib import Path

import pytest

from pipelines.cluster import versions
from pipelines.cluster.connection import connect
from pipelines.cluster.versions import HERE, ClusterError, differences
from pipelines.params import Params

SAME = {"Python": "3.11", "torch": "2.13.0", "ray": "2.60.0", "pipelines": "0123abcd", "stylegan": "4567cdef"}


def test_equal_nodes_are_no_problem() -> None:
    assert differences({HERE: SAME, "10.0.0.1": SAME, "10.0.0.2": dict(SAME)}) == []


def test_a_differing_node_is_named_with_both_versions_of_what_differs() -> None:
    other = SAME | {"torch": "2.12.0", "stylegan": "missing"}
    assert differences({HERE: SAME, "10.0.0.1": SAME, "10.0.0.2": other}) == [
        "10.0.0.2: torch 2.12.0 (here 2.13.0), stylegan missing (here 4567cdef)"
    ]


def test_the_digest_of_code_follows_the_sources_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_package").mkdir()
    source = tmp_path / "some_package" / "__init__.py"
    source.write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    probe = versions._probe()
    before = probe(("some_package",))["some_package"]
    (tmp_path / "some_package" / "notes.txt").write_text("no code")
    assert probe(("some_package",))["some_package"] == before
    source.write_text("x = 2\n")
    assert probe(("some_package",))["some_package"] != before
    assert probe(("no_such_package",))["no_such_package"] == "missing"


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_an_address_that_nobody_answers_at_is_refused_at_once(
    tiny_params: Params, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    with pytest.raises(ClusterError) as caught, connect(tiny_params.cluster):
        pass
    assert str(caught.value) == (
        f"127.0.0.1:{closed_port}: cannot join that Ray cluster: [Errno 111] Connection refused. The address is "
        "cluster.address in params.yaml, or else RAY_ADDRESS: host:port, or auto on a machine of the cluster. "
        "Without "
        "both, Ray starts on this machine."
    )


def test_the_parameters_win_over_the_environment(
    tiny_params: Params, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    there = tiny_params.cluster.model_copy(update={"address": f"127.0.0.1:{closed_port}"})
    with pytest.raises(ClusterError, match=f"^127.0.0.1:{closed_port}: cannot join"), connect(there):
        pass


def test_the_address_of_job_submission_is_told_from_that_of_the_cluster(
    tiny_params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(ClusterError, match="HTTP address"), connect(tiny_params.cluster):
        pass
