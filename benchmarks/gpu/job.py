"""What a section of the call knows, and how it reports."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported by the supervisor and by every section, and some need no torch
    import torch


class CannotRunError(Exception):
    """A section cannot run here; the message is the reason."""


@dataclass(frozen=True)
class Options:
    """What the person asked for; the same for every section."""

    device: str = "cuda"
    tiny: bool = False  # a rehearsal: seconds on a processor
    peer: str | None = None  # folder of the official code
    data: str | None = None  # folder of images to train on
    out: str = "reports/gpu"


@dataclass(frozen=True)
class Job:
    """One section's view of the call. Results are written when they are there, so that a killed section keeps them."""

    options: Options
    results: Path  # JSON lines
    deadline: float  # of time.monotonic(), which all processes of a machine share

    @property
    def device(self) -> "torch.device":
        import torch

        return torch.device(self.options.device, 0)  # as tensors say it

    @property
    def left_sec(self) -> float:
        """Until the section is killed"""
        return self.deadline - time.monotonic()

    def record(self, value: Any, *path: str) -> None:
        """Keep a value (numbers, text, lists, dicts) under a path of names."""
        with self.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"path": path, "value": value}) + "\n")

    def say(self, line: str) -> None:
        """Print a line now."""
        print(line, flush=True)
