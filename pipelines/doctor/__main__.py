"""`stylegan doctor`: check this machine, and say how to mend what does not work. Exit code 1 for a problem."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.command_table import COMMANDS
from stylegan.exit_codes import DONE, FAILED, exit_code
from stylegan.text import print_json, print_lines

if TYPE_CHECKING:
    from pipelines.doctor.findings import Check, Finding
    from pipelines.params import Params


def independent_checks(root: Path) -> "list[tuple[str, Check]]":
    """Checks that need no settings"""
    from pipelines.doctor import machine, services, surroundings

    return [
        ("Python", machine.check_python),
        ("packages", partial(machine.check_packages, root / "constraints.txt")),
        ("disk", partial(machine.check_disk, root)),
        ("memory", machine.check_shared_memory),
        ("folders", partial(surroundings.check_folders, root)),
        ("proxy", surroundings.check_proxies),
        ("DVC", partial(surroundings.check_repository, root)),
        ("port", services.check_port),
        ("assets", partial(services.check_assets, root)),
    ]


def dependent_checks(params: "Params", root: Path, *, quick: bool) -> "list[tuple[str, Check]]":
    """Checks of what the settings ask for; the start of Ray comes last, for it takes longest"""
    from pipelines.doctor import machine, services

    found: list[tuple[str, Check]] = [
        ("device", partial(machine.check_devices, params)),
        ("kernels", partial(machine.check_kernels, params)),
        ("precision", partial(machine.check_precision, params)),
        ("weights", partial(services.check_weights, params, root)),
        ("tracking", partial(services.check_tracking, params)),
    ]
    return found if quick else [*found, ("Ray", partial(services.check_ray, params))]


def examine(root: Path, *, quick: bool) -> "Iterator[Finding]":
    """Everything that is found, as it is found"""
    from pipelines.doctor.findings import Finding, run_checks
    from pipelines.params import load
    from stylegan.config import ConfigError

    yield from run_checks(independent_checks(root))
    try:
        params = load(root / "params.yaml")
    except (ConfigError, FileNotFoundError) as error:
        remedy = "Mend that line, or get the file back: git restore params.yaml"
        yield Finding("settings", "problem", str(error).splitlines()[0], remedy)
        return
    yield Finding("settings", "ok", f"{root / 'params.yaml'} is valid")
    yield from run_checks(dependent_checks(params, root, quick=quick))


@exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is found; returns 1 when something is a problem."""
    options = COMMANDS["doctor"].parse(arguments)
    # Deferred: --help and a wrong argument are answered before torch and Ray are imported.
    from pipelines.doctor.findings import describe, summarise
    from pipelines.params import ROOT

    findings = []
    for finding in examine(ROOT, quick=options.quick):
        findings.append(finding)
        if not options.json:
            print_lines(*describe(finding).split("\n"))
    if options.json:
        print_json([asdict(each) for each in findings])
    else:
        print_lines(summarise(findings))
    return FAILED if any(each.state == "problem" for each in findings) else DONE


if __name__ == "__main__":
    sys.exit(main())
