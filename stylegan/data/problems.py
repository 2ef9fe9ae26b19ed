"""Files that cannot be used: why, and in groups that a person can read."""

from collections.abc import Sequence
from dataclasses import dataclass

from stylegan.text import visible

NUM_EXAMPLES = 3
REPLACE = "replace or remove it"


@dataclass(frozen=True)
class Problem:
    """Why a file cannot be used, and what to do; files of one kind and remedy belong together."""

    kind: str  # "is not square"
    remedy: str  # "set prepare.transform to center-crop"
    detail: str = ""  # of this file alone: "300 x 200"

    @property
    def reason(self) -> str:
        """The whole sentence about one file"""
        return f"{self.kind}{self._in_parentheses}; {self.remedy}"

    @property
    def _in_parentheses(self) -> str:
        return f" ({self.detail})" if self.detail else ""

    def example(self, source: str) -> str:
        """The file, and what is particular about it"""
        return f"{source}{self._in_parentheses}"


class ProblemError(Exception):
    """A file cannot be used; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.reason)
        self.problem = problem


@dataclass(frozen=True)
class BadFile:
    """A file that cannot be used, by its path in the source."""

    source: str
    problem: Problem

    def as_json(self) -> dict[str, str]:
        """What the manifest says of it"""
        return {"source": visible(self.source), "reason": visible(self.problem.reason)}


def group(bad: Sequence[BadFile]) -> list[tuple[str, str, list[BadFile]]]:
    """Files by the kind of problem and its remedy, the most frequent first"""
    found: dict[tuple[str, str], list[BadFile]] = {}
    for file in bad:
        found.setdefault((file.problem.kind, file.problem.remedy), []).append(file)
    return [(*key, found[key]) for key in sorted(found, key=lambda key: (-len(found[key]), key))]


def describe(bad: Sequence[BadFile]) -> list[str]:
    """A line for each kind of problem, with its count and remedy, and examples below it"""
    lines = []
    for kind, remedy, files in group(bad):
        lines.append(f"{len(files):7,} {kind}; {remedy}")
        shown = files if len(files) <= NUM_EXAMPLES + 1 else files[:NUM_EXAMPLES]
        lines += [f"        {file.problem.example(file.source)}" for file in shown]
        if len(files) > len(shown):
            lines.append(f"        and {len(files) - len(shown):,} others")
    return lines
