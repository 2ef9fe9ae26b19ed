"""What the machine is: card, driver, libraries, clocks."""

import os
import platform
import shutil
import subprocess
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

QUERIES = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit")


def facts(device: str) -> dict[str, Any]:
    """By name; None for what is not there"""
    is_cuda = device == "cuda" and torch.cuda.is_available()
    properties = torch.cuda.get_device_properties(0) if is_cuda else None
    found: dict[str, Any] = {
        "card": properties.name if properties else "none",
        "memory_gb": round(properties.total_memory / 1e9, 1) if properties else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "triton": _version("triton"),
        "compiler": _compiler(),
        "cores": os.cpu_count(),
        "commit": _output("git", "rev-parse", "--short", "HEAD"),
    }
    return found | (_smi() if is_cuda else {})


def _compiler() -> str | None:
    """With which Triton builds what starts a kernel; that needs Python's headers, too"""
    has_headers = Path(sysconfig.get_config_var("INCLUDEPY"), "Python.h").exists()
    found = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    return found if has_headers or found is None else f"{found} without Python.h"


def _smi() -> dict[str, str]:
    values = _output("nvidia-smi", f"--query-gpu={','.join(QUERIES)}", "--format=csv,noheader", "-i", "0")
    return dict(zip(QUERIES, values.split(", "), strict=False)) if values else {}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    """What a command prints; None if there is no such command, or it fails"""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
