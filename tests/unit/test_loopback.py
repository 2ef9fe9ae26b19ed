"""A Ray that starts here has a token of its own, and leaves the environment as it was."""

import os

import pytest
from ray._private import ray_constants

from pipelines.cluster.loopback import TOKENS, local_only


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TOKENS, "RAY_AUTH_MODE", "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)


def test_each_ray_gets_a_token_of_its_own() -> None:
    tokens = set[str]()
    for _ in range(2):
        with local_only():
            assert os.environ["RAY_AUTH_MODE"] == "token"
            tokens.add(os.environ["RAY_AUTH_TOKEN"])
    assert len(tokens) == 2
    assert all(len(token) >= 32 for token in tokens)


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_of_the_users_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "own")
    with local_only():
        assert {each: os.environ.get(each) for each in TOKENS} == dict.fromkeys(TOKENS) | {name: "own"}


def test_what_a_shell_of_a_cluster_says_holds_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth7")
    before, clusters = dict(os.environ), ray_constants.ENABLE_RAY_CLUSTER
    with local_only():
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert "eth7" not in {os.environ["GLOO_SOCKET_IFNAME"], os.environ["NCCL_SOCKET_IFNAME"]}
        assert not ray_constants.ENABLE_RAY_CLUSTER
    assert (dict(os.environ), ray_constants.ENABLE_RAY_CLUSTER) == (before, clusters)
