"""The code blocks of a page, and what is the same in the output of every run."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Block:
    """Lines between two fences, blank ones left out."""

    language: str  # "" for commands of a shell, "text" for output
    text: str

    @property
    def lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.strip()]


def blocks(page: Path) -> list[Block]:
    """All blocks, in order"""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(language, text) for language, text in found]


def shape(line: str) -> str:
    """A line of output without its numbers, times, and folders that differ between runs"""
    line = re.sub(r"\S*(?=reports/index\.html)", "", line)
    line = re.sub(r"runs/[0-9a-f]{12}/", "runs/NAME/", line)
    line = re.sub(r"(\d+ (days?|h|min|s)\b ?)+", "TIME ", line)
    return re.sub(r"-?\d[\d,.]*", "N", line)
