"""What a check found, and how it is shown."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

State: TypeAlias = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the report; what is not ok says how to mend it."""

    check: str
    state: State
    text: str
    remedy: str = ""


Check: TypeAlias = Callable[[], Iterable[Finding]]


def run_checks(checks: Sequence[tuple[str, Check]]) -> Iterator[Finding]:
    """What each check finds; one that fails itself is a problem and ends no other."""
    for name, check in checks:
        try:
            yield from check()
        except Exception as error:
            remedy = "This check expected to work on every machine; please report it with this line."
            yield Finding(name, "problem", f"the check itself failed: {type(error).__name__}: {error}", remedy)


def describe(finding: Finding) -> str:
    """One line, and a second with the remedy"""
    line = f"{finding.state:<8} {finding.check:<10} {finding.text}"
    return f"{line}\n{'':19} -> {finding.remedy}" if finding.remedy else line


def summarise(findings: Sequence[Finding]) -> str:
    """How many of each kind"""
    problems, warnings = (sum(found.state == state for found in findings) for state in ("problem", "warning"))
    if not problems and not warnings:
        return "Everything works."
    return f"{problems} problem(s), {warnings} warning(s). A warning stops nothing."
