"""`python -m pipelines.cluster status | check | stop`: nodes and runs, versions of every node, end what trains here."""

import sys
from collections.abc import Sequence

import ray

from pipelines.cluster import shutdown, status, versions
from pipelines.cluster.connection import connect
from pipelines.params import load
from stylegan.config import ConfigError


def check(overrides: Sequence[str]) -> None:
    """Connect as a stage would, check, and print a line for each node."""
    try:
        with connect(load(overrides=overrides).cluster):
            for name, found in versions.check().items():
                print(f"{name}: " + ", ".join(f"{what} {version}" for what, version in found.items()))
            resources = ray.cluster_resources()
            print(f"together: {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs")
    except (ConfigError, FileNotFoundError) as error:
        sys.exit(f"cluster: {error}")


COMMANDS = {"status": status.main, "check": check, "stop": shutdown.main}


def main(arguments: Sequence[str]) -> None:
    """python -m pipelines.cluster status [--address HOST:PORT]"""
    if not arguments or arguments[0] not in COMMANDS:
        sys.exit("cluster: expected a command: python -m pipelines.cluster status, check or stop")
    COMMANDS[arguments[0]](arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
