"""`python -m pipelines.cluster status`: the nodes of the cluster, and the runs of this repository.

Without an address the table has one row, this machine, and no Ray is started.
"""

import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import psutil
import ray
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from pipelines.artifacts import json_lines, ticks
from pipelines.artifacts.artifact import ArtifactError
from pipelines.artifacts.ticks import TickRow
from pipelines.cluster import connection
from pipelines.cluster.nodes import alive, ask
from pipelines.cluster.processes import run_folders, trainer_of
from pipelines.cluster.versions import HERE, differences
from pipelines.command_table import COMMANDS
from pipelines.params import ROOT, ClusterConfig, load
from stylegan.console import make_console
from stylegan.exit_codes import exit_code
from stylegan.text import print_json

ANSWER_SEC = 30.0  # a person waits
PACKAGES = ("torch", "ray")
ENDED = {"FINISHED": "finished", "FAILED": "failed"}  # a run that is recorded as running may do so on another machine


@dataclass(frozen=True)
class Node:
    """One machine"""

    address: str
    is_alive: bool
    cpus: tuple[float, float]  # reserved, there
    gpus: tuple[float, float]
    memory_gb: tuple[float, float] | None  # used, there; None: no answer
    versions: dict[str, str]


@dataclass(frozen=True)
class Run:
    """A run of this repository"""

    name: str
    pid: int | None  # of who trains it on this machine
    last_tick: dict[str, float] | None  # by column of the log


@dataclass(frozen=True)
class State:
    """What `status --json` prints"""

    nodes: tuple[Node, ...]
    runs: tuple[Run, ...]


class Facts(NamedTuple):
    """What a machine says of itself"""

    memory_gb: tuple[float, float]  # used, there
    versions: dict[str, str]


def facts() -> Facts:
    """Memory and versions of the machine that this runs on"""
    memory = psutil.virtual_memory()
    versions = {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    return Facts(((memory.total - memory.available) / 2**30, memory.total / 2**30), versions)


def this_machine() -> Node:
    """Cores that are busy instead of reserved"""
    cores = os.cpu_count() or 1
    memory_gb, versions = facts()
    return Node(platform.node(), True, (psutil.cpu_percent(0.2) / 100 * cores, cores), (0, 0), memory_gb, versions)


def nodes() -> list[Node]:
    """Nodes of the cluster that this process is connected to, in the order of their addresses"""
    # Not public, and there is no public way to ask one node; the version of Ray is pinned.
    from ray._private.state import available_resources_per_node

    listed = sorted(ray.nodes(), key=lambda node: str(node["NodeManagerAddress"]))
    answers, free = _answers(), available_resources_per_node()
    result = []
    for node in listed:
        memory_gb, versions = answers.get(node["NodeID"], (None, {}))
        there, left = node["Resources"], free.get(node["NodeID"], {})
        cpus, gpus = ((there.get(kind, 0.0) - left.get(kind, 0.0), there.get(kind, 0.0)) for kind in ("CPU", "GPU"))
        result.append(Node(node["NodeManagerAddress"], node["Alive"], cpus, gpus, memory_gb, versions))
    return result


def _answers() -> dict[str, Facts]:
    """facts() of each node that answers in time, by its id"""
    nodes = alive()
    answers = zip(nodes, ask(nodes, facts, limit_sec=ANSWER_SEC), strict=True)
    return {node["NodeID"]: answer for node, answer in answers if not isinstance(answer, Exception)}


def node_table(found: Sequence[Node]) -> Table:
    """One row a node"""
    result = Table("node", "", "CPUs", "GPUs", "memory GB", "versions", box=SIMPLE, pad_edge=False)
    for node in found:
        memory = "no answer" if node.memory_gb is None else "{:.1f} / {:.1f}".format(*node.memory_gb)
        versions = ", ".join(f"{name} {number}" for name, number in node.versions.items())
        state = "alive" if node.is_alive else "dead"
        cpus, gpus = (f"{used:.3g} / {there:g}" for used, there in (node.cpus, node.gpus))
        result.add_row(
            node.address, state, cpus, gpus if node.gpus[1] else "", memory if node.is_alive else "", versions
        )
    return result


def warning(found: Sequence[Node], here: dict[str, str]) -> str:
    """Versions that are not those of this machine, and the remedy; empty when there are none"""
    if lines := differences({HERE: here} | {node.address: node.versions for node in found}):
        lines.append("All nodes need the same versions: install constraints.txt on that node.")
    return "\n".join(lines)


def run_table(runs: Path, now: float) -> Table:
    """One row a run: who trains it on this machine or how it ended, its last tick, and the lowest KID of a snapshot"""
    result = Table("run", "state", "kimg", "sec/kimg", "last tick", "lowest KID", box=SIMPLE, pad_edge=False)
    for folder in run_folders(runs):
        trainer, rows = trainer_of(folder), ticks.read(folder)
        cells = [folder.name, ENDED.get(recorded_status(folder), "") if trainer is None else f"process {trainer.pid}"]
        if rows:
            age = now - (folder / ticks.LOG).stat().st_mtime
            cells += [f"{rows[-1].kimg:.1f}", f"{rows[-1].sec_per_kimg or 0:.2f}", f"{spoken(age)} ago"]
            cells.append(lowest_kid(rows))
        result.add_row(*cells)
    return result


def recorded_status(folder: Path) -> str:
    """What the journal of a run said of it last: RUNNING, FINISHED or FAILED; empty before its first word"""
    try:
        records = [record for record, _ in json_lines.read(folder / "tracking.jsonl")]
    except json_lines.DamagedLineError as error:
        raise ArtifactError(f"{error}. Run the command that trains this run again: it says what to do.") from None
    return next((str(each["status"]) for each in reversed(records) if each.get("kind") == "status"), "")


def lowest_kid(rows: Sequence[TickRow]) -> str:
    """The lowest KID that the monitor measured of a snapshot, and at which kimg; empty when it measured none"""
    measured = [(row.monitor.kid, row.kimg) for row in rows if row.monitor.kid is not None]
    kid, kimg = min((each for each in measured if math.isfinite(each[0])), default=(math.nan, 0.0))
    return "" if math.isnan(kid) else f"{kid:.4g} at {kimg:g}"


def spoken(sec: float) -> str:
    """90 -> "1 min" """
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if sec >= size:
            return f"{sec // size:.0f} {unit}"
    return f"{max(sec, 0):.0f} s"


def find_nodes(config: ClusterConfig) -> list[Node]:
    """This machine, or the nodes of a cluster. Raises ClusterError if none answers at the address."""
    if config.address is None:
        return [this_machine()]
    with connection.connect(config, refuse_others=False):  # a node that differs is what it should show
        return nodes()


def find_state(config: ClusterConfig, runs: Path) -> State:
    """Nodes and runs. Raises ClusterError if no cluster answers at the address."""
    return State(tuple(find_nodes(config)), tuple(describe_run(folder) for folder in run_folders(runs)))


def describe_run(folder: Path) -> Run:
    """Who trains a run, and its last tick"""
    trainer, rows = trainer_of(folder), ticks.read(folder)
    return Run(folder.name, None if trainer is None else trainer.pid, rows[-1].columns if rows else None)


def show(config: ClusterConfig, runs: Path, console: Console) -> None:
    """Print both tables. Raises ClusterError if no cluster answers at the address."""
    found = find_nodes(config)
    console.print(node_table(found))
    for line in (warning(found, facts()[1]) or "").splitlines():
        console.print(line)
    console.print(run_table(runs, time.time()) if run_folders(runs) else f"{runs}: no runs yet.")


@exit_code
def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; the address is --address, else cluster.address, else RAY_ADDRESS, as a stage takes it"""
    options = COMMANDS["status"].parse(arguments)
    config = load(ROOT / "params.yaml").cluster
    address = options.address or config.address or os.environ.get("RAY_ADDRESS")
    config = config.model_copy(update={"address": address})
    if options.json:
        print_json(asdict(find_state(config, ROOT / "runs")))
    else:
        show(config, ROOT / "runs", make_console())
