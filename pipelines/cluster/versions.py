"""What the nodes of a cluster run: Python, torch, Ray and this code. Nodes that differ are refused before they train.

`python -m pipelines.cluster check` connects as a stage would and lists the nodes.
"""

from collections.abc import Mapping
from typing import Any

from pipelines.cluster.nodes import alive, ask
from stylegan.config import ConfigError

HERE = "this process"
PACKAGES = ("pipelines", "stylegan")

Versions = dict[str, str]


class ClusterError(ConfigError):
    """The cluster that cluster.address or RAY_ADDRESS names cannot run this; the message says what to do."""


def check() -> dict[str, Versions]:
    """Versions of this process and of every node of the connected cluster, by address.

    Raises ClusterError that names nodes and versions when they differ, or a node that does not answer.
    """
    found = {HERE: _probe()(PACKAGES)} | of_nodes()
    problems = differences(found)
    if problems:
        raise ClusterError(
            "the nodes of the cluster do not run the same:\n"
            + "\n".join(f"  {problem}" for problem in problems)
            + "\nInstall constraints.txt and the same code on every node; `ray up` with the cluster's file does both."
        )
    return found


def of_nodes() -> dict[str, Versions]:
    """Versions of every node alive, by address. Raises ClusterError for a node that does not answer."""
    found: dict[str, Versions] = {}
    nodes = alive()
    for node, answer in zip(nodes, ask(nodes, _probe(), PACKAGES), strict=True):
        name = _name(node, found)
        if isinstance(answer, Exception):
            raise ClusterError(
                f"{name}: the node is in the cluster but runs nothing ({type(answer).__name__}). Look at its Ray log, "
                "or run `ray up` with the cluster's file, which starts Ray there again."
            ) from answer
        found[name] = answer
    return found


def differences(found: Mapping[str, Versions]) -> list[str]:
    """One line for each node whose versions are not those of this process"""
    here = found[HERE]
    return [
        f"{name}: " + ", ".join(f"{what} {version} (here {here[what]})" for what, version in unequal.items())
        for name, versions in found.items()
        if (unequal := {what: version for what, version in versions.items() if version != here[what]})
    ]


def _probe() -> Any:
    """The function that a node runs. Defined in a function, it travels as code: a node need not have this module."""

    def probe(packages: tuple[str, ...]) -> dict[str, str]:
        import hashlib
        import importlib.metadata
        import importlib.util
        import platform
        from pathlib import Path

        versions = {"Python": ".".join(platform.python_version_tuple()[:2])}
        for name in ("torch", "ray"):
            try:
                # The local part tells the build: a head without a GPU may have +cpu beside workers with +cu130.
                versions[name] = importlib.metadata.version(name).partition("+")[0]
            except importlib.metadata.PackageNotFoundError:
                versions[name] = "missing"
        for name in packages:
            spec = importlib.util.find_spec(name)
            if spec is None or spec.origin is None:
                versions[name] = "missing"
                continue
            folder, digest = Path(spec.origin).parent, hashlib.sha256()
            for file in sorted(folder.rglob("*.py")):
                digest.update(file.relative_to(folder).as_posix().encode() + file.read_bytes())
            versions[name] = digest.hexdigest()[:8]
        return versions

    return probe


def _name(node: Mapping[str, Any], taken: Mapping[str, object]) -> str:
    """Address of a node; nodes that share a machine are told apart by their id"""
    address = str(node["NodeManagerAddress"])
    return f"{address} ({node['NodeID'][:8]})" if address in taken else address
