"""The load of this machine: processor, memory and GPUs."""

import shutil
import subprocess

import psutil

_MEBIBYTE = 2**20
ANSWER_SEC = 3.0  # a busy driver takes seconds, and the tick that asks waits


def system_metrics() -> dict[str, float]:
    """Load of this machine since the last call, under the names MLflow shows on its System tab"""
    memory = psutil.virtual_memory()
    values = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(),
        "system/system_memory_usage_megabytes": memory.used / _MEBIBYTE,
        "system/system_memory_usage_percentage": memory.percent,
    }
    return values | _gpu_metrics()


def _gpu_metrics() -> dict[str, float]:
    """Load and memory of every GPU that measures them; empty without NVIDIA's driver, and if it does not answer"""
    if not shutil.which("nvidia-smi"):
        return {}
    query = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=ANSWER_SEC)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    values = {}
    for index, line in enumerate(answer.stdout.splitlines()):
        for name, cell in zip(("utilization_percentage", "memory_usage_megabytes"), line.split(","), strict=False):
            if cell.strip().isdigit():  # "[N/A]" where a card does not measure it
                values[f"system/gpu_{index}_{name}"] = float(cell)
    return values
