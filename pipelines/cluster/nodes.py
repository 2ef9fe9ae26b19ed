"""The nodes of the connected cluster: this one, those that are alive, and a question to each of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

Node = Mapping[str, Any]  # as ray.nodes() lists it
ANSWER_SEC = 120.0  # a node that has no idle process starts one to answer


def here() -> str:
    """Address of this node, the same on all that is on it"""
    return str(ray.util.get_node_ip_address())


def alive() -> list[Node]:
    """Nodes that are alive, in the order of their addresses"""
    return sorted((node for node in ray.nodes() if node["Alive"]), key=lambda node: str(node["NodeManagerAddress"]))


def ask(
    nodes: Sequence[Node], question: Callable[..., Any], *arguments: object, limit_sec: float = ANSWER_SEC
) -> list[Any]:
    """question(*arguments) on each node, in their order; the exception for one that fails or does not answer in time

    It costs no CPU, so that a busy node answers too. A question that is not found by name there has to be defined
    inside a function: then it travels as code.
    """
    remote = ray.remote(num_cpus=0, max_retries=0)(question)
    there = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
    asked = [remote.options(scheduling_strategy=strategy).remote(*arguments) for strategy in there]
    ray.wait(asked, num_returns=len(asked), timeout=limit_sec)
    return [_answer(reference) for reference in asked]


def _answer(reference: "ray.ObjectRef[Any]") -> Any:
    try:
        return ray.get(reference, timeout=0)
    except (ray.exceptions.RayError, TimeoutError) as error:
        return error
