"""Requests that one machine cannot fulfil are refused before Ray is asked; what a cluster is waited for is said."""

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from pipelines.ablate.runner import ablate
from pipelines.cluster import capacity, connection
from pipelines.cluster.capacity import CapacityError, gpus_for, most_workers, placed, refuse_impossible, spoken
from pipelines.evaluate import __main__ as evaluate
from pipelines.ladders import ladder
from pipelines.params import Params
from pipelines.sweep import space
from pipelines.sweep.tuner import sweep
from pipelines.train import run

Make = Callable[..., Params]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """machine(2): two GPUs, 8 CPUs, 16 GB"""

    def has(gpus: int) -> None:
        memory: Any = type("Memory", (), {"total": 16 * 2**30})
        monkeypatch.setattr(capacity, "num_gpus", lambda: gpus)
        monkeypatch.setattr(capacity.os, "cpu_count", lambda: 8)
        monkeypatch.setattr(capacity.psutil, "virtual_memory", lambda: memory)
        monkeypatch.setattr("torch.version.cuda", "13.0")

    return has


def test_a_gpu_that_is_not_there_is_refused_with_what_the_machine_has_and_the_remedy(
    machine: Callable[[int], None], make_params: Make
) -> None:
    machine(0)
    with pytest.raises(CapacityError) as caught:
        refuse_impossible(make_params("cluster.use_gpu=true", "cluster.num_workers=2", "train.batch_gpu=2").cluster)
    assert str(caught.value) == (
        "cluster.use_gpu is true: 2 workers of cluster.num_workers need 2 GPUs; this machine has 0 GPUs, 8 CPUs, 16.0 "
        "GB of memory. Set cluster.use_gpu to false, or name a cluster with GPUs in cluster.address."
    )


def test_fewer_gpus_than_workers_are_refused_and_as_many_are_not(
    machine: Callable[[int], None], make_params: Make
) -> None:
    cluster = make_params("cluster.use_gpu=true", "cluster.num_workers=2", "train.batch_gpu=2").cluster
    machine(1)
    with pytest.raises(CapacityError, match=r"has 1 GPU, .* Set cluster.num_workers lower, or cluster.use_gpu to"):
        refuse_impossible(cluster)
    machine(2)
    refuse_impossible(cluster)
    refuse_impossible(cluster.model_copy(update={"num_workers": (2, 8)}))  # elastic: the fewest are enough


def test_a_torch_without_cuda_is_named(
    machine: Callable[[int], None], make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(0)
    monkeypatch.setattr("torch.version.cuda", None)
    with pytest.raises(CapacityError, match=r"\(the installed torch is built without CUDA\)"):
        refuse_impossible(make_params("cluster.use_gpu=true").cluster)


def test_more_workers_than_memory_holds_are_refused(machine: Callable[[int], None], make_params: Make) -> None:
    machine(0)
    cluster = make_params().cluster
    refuse_impossible(cluster.model_copy(update={"num_workers": 53}))
    with pytest.raises(CapacityError) as caught:
        refuse_impossible(cluster.model_copy(update={"num_workers": 54}))
    assert str(caught.value) == (
        "cluster.num_workers asks for 54 workers of at least 0.3 GB; this machine has 0 GPUs, 8 CPUs, 16.0 GB of "
        "memory. Set it to at most 53, or name a cluster in cluster.address."
    )


@pytest.mark.parametrize("address", ["params", "environment"])
def test_a_cluster_is_not_judged_by_this_machine(
    address: str, machine: Callable[[int], None], make_params: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(0)
    cluster = make_params("cluster.use_gpu=true").cluster
    if address == "environment":
        monkeypatch.setenv("RAY_ADDRESS", "auto")
    refuse_impossible(cluster.model_copy(update={"address": "auto" if address == "params" else None}))


@pytest.mark.parametrize(
    ("workers", "share", "needed"), [(3, 1.0, 3), (2, 0.5, 1), (3, 0.5, 2), (2, 0.6, 2), (1, 2.0, 2)]
)
def test_shares_are_of_one_gpu(workers: int, share: float, needed: int) -> None:
    assert gpus_for(workers, share) == needed


def test_trials_are_refused_by_the_settings_of_the_sweep(machine: Callable[[int], None], make_params: Make) -> None:
    machine(1)
    params = make_params("sweep.gpus_per_worker=0.6", "sweep.workers_per_trial=2", "train.batch_gpu=2")
    trial = space.of_trial(params, {})
    with pytest.raises(CapacityError, match=r"sweep.gpus_per_worker is above 0: 2 workers of sweep.workers_per_trial"):
        refuse_impossible(trial.cluster, "sweep")


def test_every_command_refuses_before_it_reads_data_or_starts_ray(
    machine: Callable[[int], None], make_params: Make, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(0)
    monkeypatch.setattr(connection, "connect", lambda *_: pytest.fail("it asked for Ray"))
    params = make_params("cluster.use_gpu=true", "sweep.gpus_per_worker=1.0", "sweep.workers_per_trial=1",
                         "sweep.searcher=grid", "sweep.scheduler=none")  # fmt: skip
    monkeypatch.setattr("pipelines.params.load", lambda overrides: params)
    commands: list[Callable[[], object]] = [
        lambda: run(params, tmp_path, tmp_path),  # there is no archive to read
        lambda: sweep(params, tmp_path, tmp_path, tmp_path),
        lambda: ablate(params, ladder.load("architectures"), [], tmp_path, tmp_path, tmp_path),
        lambda: evaluate.measured(argparse.Namespace(network=None, overrides=[])),
    ]
    for command in commands:
        with pytest.raises(CapacityError, match="this machine has 0 GPUs"):
            command()


@pytest.mark.parametrize(
    ("has", "text"),
    [({"CPU": 8.0}, "0 GPUs, 8 CPUs"), ({"CPU": 1.0, "GPU": 1.0, "memory": 2.04}, "1 GPU, 1 CPU, 2.0 GB of memory")],
)
def test_resources_are_said_in_words(has: dict[str, float], text: str) -> None:
    assert spoken(has) == text


def test_nodes_hold_as_many_workers_as_fit_on_each() -> None:
    nodes = [{"CPU": 3.0, "GPU": 1.0}, {"CPU": 3.0}]
    assert most_workers(nodes, {"CPU": 2.0}) == 2  # not 3: none is on two nodes
    assert most_workers(nodes, {"CPU": 0.1, "GPU": 0.0}) == 60
    assert most_workers(nodes, {"CPU": 1.0, "GPU": 1.0}) == 1
    assert most_workers([{"CPU": 8.0, "GPU": 2.0}], {"CPU": 0.1, "GPU": 0.6}) == 2  # not 3: none is on two GPUs
    assert most_workers([{"CPU": 8.0, "GPU": 2.0}], {"CPU": 0.1, "GPU": 0.1}) == 20


@pytest.mark.parametrize(
    ("state", "count", "cpus", "expected"),
    [("CREATED", 2, 1.0, True), ("PENDING", 2, 1.0, False), ("CREATED", 3, 1.0, False), ("CREATED", 2, 2.0, False)],
)
def test_a_group_is_placed_when_it_is_the_one_asked_for(
    state: str, count: int, cpus: float, expected: bool, make_params: Make
) -> None:
    cluster = make_params("cluster.num_workers=2", "train.batch_gpu=2").cluster
    group = {"state": state, "bundles": {index: {"CPU": cpus} for index in range(count)}}
    assert placed([group], cluster) == expected


def test_the_line_on_waiting_says_what_is_asked_and_what_the_cluster_has_without_its_memory_in_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = {"Resources": {"CPU": 2.0, "memory": 17777836032.0}}
    monkeypatch.setattr(capacity, "alive", lambda: [node])
    monkeypatch.setattr("ray.available_resources", lambda: {"CPU": 1.0, "memory": 17777836032.0})
    assert capacity.waiting_line(2, {"CPU": 1.0}) == (
        "waiting for 2 CPUs (2 workers); the cluster has 0 GPUs, 2 CPUs on 1 node, of which 0 GPUs, 1 CPU are free."
    )


def without_room(monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], list[object]]:
    """A cluster that never has room: the seconds that were waited, and the groups that were given back"""
    now, removed = [0.0], list[object]()

    class Group:
        def wait(self, sec: float) -> bool:
            now[0] += sec
            return False

    monkeypatch.setattr(capacity.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(capacity, "placement_group", lambda bundles: Group())
    monkeypatch.setattr(capacity, "remove_placement_group", removed.append)
    monkeypatch.setattr(capacity, "waiting_line", lambda workers, per_worker: "waiting for 1 CPU.")
    return now, removed


def test_a_command_that_is_stopped_waits_no_longer_and_gives_back_what_it_asked_for(
    monkeypatch: pytest.MonkeyPatch, make_params: Callable[..., Params]
) -> None:
    now, removed = without_room(monkeypatch)
    cluster = make_params("cluster.address=head:6379", "cluster.wait_hours=1").cluster
    with pytest.raises(CapacityError):
        capacity.await_room(cluster, lambda line: None, lambda: now[0] >= 7)
    assert now[0] == 7
    assert len(removed) == 1


def test_a_wait_has_a_limit_and_says_what_there_was_no_room_for(
    monkeypatch: pytest.MonkeyPatch, make_params: Callable[..., Params]
) -> None:
    cluster = make_params("cluster.address=head:6379", "cluster.wait_hours=0.001").cluster
    now, removed = without_room(monkeypatch)
    with pytest.raises(CapacityError) as caught:
        capacity.await_room(cluster, lambda line: None)
    assert str(caught.value) == (
        "cluster.wait_hours is 0.001, for which there was no room. Last: waiting for 1 CPU. Give the same command "
        "again when it can, set cluster.wait_hours higher, or cluster.num_workers lower."
    )
    assert len(removed) == 1
    assert now[0] == 4
    with pytest.raises(CapacityError, match=r"wait_hours higher, or sweep.workers_per_trial lower\.$"):
        capacity.await_room(cluster, lambda line: None, section="sweep")
