"""TorchScript files. They run in torch's own interpreter, not in Python."""

import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stylegan.metrics.arrays import MetricError


class Script(nn.Module):
    """A TorchScript file that can be copied to other processes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            self.script = _load_script(path)
        except (RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise MetricError(
                f"{path}: torch.jit cannot open this file ({reason}). Write it with torch.jit.save."
            ) from None

    def forward(self, *args: Any, **options: bool) -> Any:
        return self.script(*args, **options)

    def arguments(self) -> list[str]:
        """Names of what it can be called with"""
        forward: Any = self.script.forward  # a script's method, which has a schema
        return [argument.name for argument in forward.schema.arguments]

    def __getstate__(self) -> dict[str, Any]:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.jit.save(self.script, buffer)
        return {"script": buffer.getvalue()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__init__()
        self.script = _load_script(io.BytesIO(state["script"]))


def device_of(network: nn.Module) -> torch.device:
    """Where its weights are; the CPU for a network without any"""
    return next((tensor.device for tensor in network.state_dict().values()), torch.device("cpu"))


def _load_script(source: Path | io.BytesIO) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch prefers torch.export; the public files are these
        script: torch.jit.ScriptModule = torch.jit.load(
            str(source) if isinstance(source, Path) else source, map_location="cpu"
        )
    return script.eval()
