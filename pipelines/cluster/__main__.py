"""`python -m pipelines.cluster status | check | stop`: nodes and runs, versions of every node, end what trains here."""

import sys
from collections.abc import Sequence

from pipelines.command_table import COMMANDS
from stylegan.command_line import Command
from stylegan.exit_codes import exit_code
from stylegan.text import print_lines

CHECK = Command(
    "cluster check", "Join the cluster as a stage would, and compare the versions on every node.",
    "cluster.address=auto", "pipelines.cluster.__main__", "check", "pipelines.options.add_overrides",
)  # fmt: skip


@exit_code
def check(arguments: Sequence[str] | None = None) -> None:
    """Connect as a stage would, check, and print a line for each node."""
    options = CHECK.parse(arguments)
    # Deferred: --help and a wrong argument are answered before Ray is imported.
    import ray

    from pipelines.cluster import versions
    from pipelines.cluster.connection import connect
    from pipelines.params import load

    with connect(load(overrides=options.overrides).cluster):
        for name, found in versions.check().items():
            print_lines(f"{name}: " + ", ".join(f"{what} {version}" for what, version in found.items()))
        resources = ray.cluster_resources()
        print_lines(f"together: {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs")


@exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """stylegan cluster status [--address HOST:PORT]"""
    options = COMMANDS["cluster"].parse(arguments)
    chosen = {"status": COMMANDS["status"], "check": CHECK, "stop": COMMANDS["stop"]}[options.command]
    chosen.parse(options.arguments)
    status: int = chosen.load()(options.arguments)
    return status


if __name__ == "__main__":
    sys.exit(main())
