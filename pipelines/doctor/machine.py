"""Checks of this machine: Python, packages, devices, instructions, disk and memory."""

import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import torch
import torch.nn.functional as F

from pipelines.doctor.findings import Finding, State
from pipelines.doctor.surroundings import existing, ray_folder
from pipelines.params import Params
from pipelines.train import measure_slowdown
from stylegan.backends import exact_float32
from stylegan.ops.kernels import choice
from stylegan.wording import counted

PYTHON = (3, 11)  # requires-python of pyproject.toml
GB = 2**30
FEW_GB, NO_GB = 5.0, 1.0  # free on disk; the built-in run writes about 1 GB of checkpoints, cache and records
SHM_GB = 1.0  # Ray keeps objects there, and on disk where it is smaller; Docker gives 64 MB
RAY_DISK = 0.95  # above this share of its disk in use Ray stores no more objects
TOLERANCE = 1e-2  # relative; a device may multiply in TF32, which keeps 10 bits


def check_python() -> Iterator[Finding]:
    """Its version, and whether pip installs into this environment"""
    here = f"{platform.python_version()} in {sys.prefix}"
    if sys.version_info[:2] < PYTHON:
        yield Finding("Python", "problem", here, "Install Python 3.11 or newer: make PYTHON=python3.12 repro")
    else:
        yield Finding("Python", "ok", here)
    if os.environ.get("PIP_USER", "").lower() in ("1", "true", "yes", "on"):
        text = "PIP_USER is set, so pip refuses to install into a virtual environment"
        yield Finding("pip", "warning", text, "unset PIP_USER")


def check_packages(constraints: Path) -> Iterator[Finding]:
    """Versions of what is installed against those that results were computed with"""
    if not constraints.exists():
        yield Finding("packages", "warning", f"{constraints}: file not found", "git restore constraints.txt")
        return
    pinned = dict(line.split("==") for line in constraints.read_text().split() if "==" in line)
    others = [f"{name} {found} (pinned {want})" for name, want in pinned.items()
              if (found := installed(name)) is not None and found != want]  # fmt: skip
    if others:
        shown = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        yield Finding("packages", "warning", f"other versions than constraints.txt: {shown}",
                      "Results may differ. `.venv/bin/python infra/install.py` installs the pinned ones.")  # fmt: skip
    else:
        yield Finding("packages", "ok", f"versions are those of constraints.txt, torch {torch.__version__}")


def installed(name: str) -> str | None:
    """Public version of a package, None without one"""
    try:
        return metadata.version(name).partition("+")[0]  # +cpu or +cu130 is the same torch
    except metadata.PackageNotFoundError:
        return None


def check_devices(params: Params) -> Iterator[Finding]:
    """A convolution on each device, compared with the processor's"""
    devices = [torch.device("cpu")]
    devices += [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    devices += [torch.device("mps")] if torch.backends.mps.is_available() else []
    for device in devices:
        yield try_device(device)
    if torch.cuda.device_count() == 0:
        yield from explain_missing_gpu(params)


def try_device(device: torch.device) -> Finding:
    """Convolve forward and backward there"""
    is_cpu = device.type == "cpu"
    name = counted(torch.get_num_threads(), "thread") if is_cpu else torch.cuda.get_device_name(device)
    name = "Apple GPU" if device.type == "mps" else name
    try:
        difference = convolution_error(device)
    except Exception as error:  # a driver may raise anything
        reason = str(error).strip().splitlines()[0]
        return Finding("device", "problem", f"{device} ({name}) fails at a convolution: {reason}",
                       "Install the torch build for this driver (https://pytorch.org), or hide the device: "
                       "CUDA_VISIBLE_DEVICES=''")  # fmt: skip
    if not difference < TOLERANCE:
        return Finding("device", "problem", f"{device} ({name}) computes something else than the processor, by "
                       f"{difference:.1g}", "Do not train on it: update the driver, or test the card.")  # fmt: skip
    return Finding("device", "ok", f"{device} ({name}) runs a convolution and its gradient")


def convolution_error(device: torch.device) -> float:
    """Largest difference of a convolution and its gradient from those in float64, relative to the largest value"""
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator) for shape in ((2, 8, 16, 16), (8, 8, 3, 3)))

    def compute(dtype: torch.dtype, where: torch.device) -> torch.Tensor:
        img = x.to(where, dtype).requires_grad_()
        out = F.conv2d(img, weight.to(where, dtype), padding=1)
        (grad,) = torch.autograd.grad(out.square().sum(), img)
        return torch.cat([out.detach().flatten(), grad.flatten()]).cpu().double()

    want = compute(torch.float64, torch.device("cpu"))
    return float((compute(torch.float32, device) - want).abs().max() / want.abs().max())


def explain_missing_gpu(params: Params) -> Iterator[Finding]:
    """Why torch has no GPU, if settings ask for one or a card is there"""
    card = Path("/dev/nvidiactl").exists() or Path("/dev/kfd").exists()
    build = f"torch {torch.__version__} finds no GPU"
    if card:
        yield Finding("device", "warning", f"{build}, but a driver is installed",
                      "Install the torch build for this driver (https://pytorch.org).")  # fmt: skip
    if params.cluster.use_gpu and params.cluster.address is None and not os.environ.get("RAY_ADDRESS"):
        yield Finding("device", "problem", f"cluster.use_gpu is true, but {build}",
                      "Set cluster.use_gpu to false, or join a cluster that has GPUs (cluster.address).")  # fmt: skip


def check_kernels(params: Params) -> Iterator[Finding]:
    """Whether this project's kernels work on each GPU, as a training would find out when it starts"""
    if params.train.kernels == "stock":
        return
    for index in range(torch.cuda.device_count()):
        with exact_float32():
            problems = choice.try_all(torch.device("cuda", index))
        failed = {name: problem for name, problem in problems.items() if problem is not None}
        if not failed:
            yield Finding("kernels", "ok", f"cuda:{index} runs {', '.join(problems)} as torch does")
            continue
        text = f"cuda:{index} uses torch's operations instead of {', '.join(failed)}: {next(iter(failed.values()))}"
        yield Finding("kernels", "warning", text, mend_kernels())


def mend_kernels() -> str:
    """What Triton lacks, which builds what starts a kernel when it first runs; or that there is nothing to do"""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not Path(sysconfig.get_config_var("INCLUDEPY"), "Python.h").exists():
        return "Install a C compiler and Python's headers: apt install gcc python3-dev (dnf: gcc python3-devel)"
    return (
        "Training works. `.venv/bin/python infra/install.py` installs the versions that the kernels were tested with."
    )


def check_precision(params: Params) -> Iterator[Finding]:
    """Whether the processor has instructions for train.precision"""
    precision = params.train.precision
    if (ratio := measure_slowdown(params)) is not None:
        text = f"a convolution in {precision}, which is train.precision, takes {ratio:.1f} times as long as in fp32"
        yield Finding("precision", "warning", text, "Set train.precision to fp32 in params.yaml.")
        return
    level = torch.backends.cpu.get_cpu_capability()
    yield Finding("precision", "ok", f"train.precision {precision} is not slow here (processor: {level})")


def check_disk(root: Path) -> Iterator[Finding]:
    """Room for results, and for Ray's objects"""
    free = shutil.disk_usage(root).free / GB
    state: State = "problem" if free < NO_GB else "warning" if free < FEW_GB else "ok"
    remedy = "" if state == "ok" else "Free some space; `dvc gc --workspace` removes results that no file refers to."
    yield Finding("disk", state, f"{free:.1f} GB free in {root}", remedy)
    usage = shutil.disk_usage(existing(ray_folder()))
    if usage.used / usage.total > RAY_DISK:
        text = (
            f"{ray_folder()}: the disk is {usage.used / usage.total:.0%} full; Ray stores nothing above {RAY_DISK:.0%}"
        )
        yield Finding("disk", "warning", text, "Free some space on it, or set TMPDIR to another disk.")


def check_shared_memory(folder: Path = Path("/dev/shm")) -> Iterator[Finding]:
    """Where Ray keeps objects"""
    if not folder.exists():  # not Linux
        return
    free = shutil.disk_usage(folder).free / GB
    if free < SHM_GB:
        yield Finding("memory", "warning", f"{folder} has {free:.2f} GB, so Ray keeps objects on the disk, slowly",
                      "In Docker, add --shm-size=2g.")  # fmt: skip
    else:
        yield Finding("memory", "ok", f"{free:.1f} GB of shared memory in {folder}")
