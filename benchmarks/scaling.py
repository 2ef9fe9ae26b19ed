"""Measures 1, 2 and 3 worker processes on this machine, with Ray and without, and writes docs/scaling.md.

    python -m benchmarks.scaling [--minutes M] [--ticks N] [--out FILE] [section.key=value ...]

Nothing else may run meanwhile. Everything is measured in turns, so that a machine that gets slower does so for all: in
each round the plain loop with 1, 2, 3 processes, which wait without computing between their turns, and then the whole
stage `train` under Ray with 1 and 2 workers, started anew. As many rounds as fit into the minutes, one at least.
"""

import argparse
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
import yaml

from benchmarks import scaling_page
from benchmarks.scaling_page import Measured
from pipelines.params import ROOT, Params, load
from pipelines.plan import advice
from stylegan.images import save_png

WORKERS = (1, 2, 3)
STAGE_WORKERS = (1, 2)
NUM_PICTURES = 64
REDUCTIONS = 100
WAIT_SEC = 240.0  # for a stage; longer says that it hangs
# A batch that 1, 2 and 3 processes share in equal passes, and work that stays the same while p would move.
OVERRIDES = (
    "train.batch_size=48", "train.batch_gpu=8", "augment.mode=fixed", "augment.p=0.2", "train.total_kimg=100000",
    "train.snapshot_ticks=1000", "monitor.num_images=0", "monitor.export=last", "cluster.num_workers=1",
    "tracking.system_metrics=false",
)  # fmt: skip


def worker(number: int, count: int, folder: Path) -> None:
    """A process of the plain loop: `ticks N` trains, `reduce BYTES N` only communicates; rank 0 prints the seconds."""
    from stylegan.data import ImageDataset
    from stylegan.state import TrainState
    from stylegan.train import train

    torch.set_num_threads(1)
    store = f"file://{folder}/rendezvous{count}"
    dist.init_process_group("gloo", init_method=store, rank=number, world_size=count)
    params = load(folder / "params.yaml")
    archive = folder / "data" / "archive.zip"
    dataset = ImageDataset(archive, use_labels=False, xflip=params.data.xflip, split="train", max_images=None)
    channels, device = dataset.channels, torch.device("cpu")
    size = params.prepare.resolution
    state = TrainState.create(params, img_resolution=size, img_channels=channels, c_dim=0, device=device)
    ticks = train(state, dataset)
    for line in sys.stdin:
        command, *numbers = line.split()
        dist.barrier()
        start = time.perf_counter()
        if command == "ticks":
            for _ in range(int(numbers[0])):
                next(ticks)
        else:
            values = torch.zeros(int(numbers[0]) // 4)
            for _ in range(int(numbers[1])):
                dist.all_reduce(values)
        dist.barrier()
        if number == 0:
            print(time.perf_counter() - start, flush=True)
    dist.destroy_process_group()


@dataclass
class Group:
    """Processes of the plain loop that wait for commands"""

    count: int
    folder: Path
    processes: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(_repository())}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        for number in range(self.count):
            command = [sys.executable, "-m", "benchmarks.scaling", "worker", str(number), str(self.count)]
            self.processes.append(
                subprocess.Popen([*command, str(self.folder)], text=True, env=environment, cwd=_repository(), **pipes)
            )

    def sec(self, command: str) -> float:
        """Seconds of a command that all of them obey"""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(f"{command}\n")
            process.stdin.flush()
        output = self.processes[0].stdout
        assert output is not None
        return float(output.readline())

    def end(self) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self.processes:
            process.wait()


def _repository() -> Path:
    return Path(__file__).resolve().parent.parent


@contextmanager
def groups(folder: Path) -> Iterator[dict[int, Group]]:
    """The plain loop with each number of processes, started and warmed up"""
    found = {count: Group(count, folder) for count in WORKERS}
    try:
        for group in found.values():
            group.start()
        for group in found.values():
            group.sec("ticks 1")
        yield found
    finally:
        for group in found.values():
            group.end()


def stage(folder: Path, params: Params, workers: int, num_ticks: int) -> tuple[float, float]:
    """The stage `train` as `dvc repro` starts it -> sec/kimg between its reports, seconds until the first step

    The first tick warms up, and the last saves a snapshot: both are left out.
    """
    shutil.rmtree(folder / "runs", ignore_errors=True)
    total = params.train.tick_kimg * (num_ticks + 2)
    overrides = [f"train.total_kimg={total}", f"cluster.num_workers={workers}"]
    environment = os.environ | {"DVC_ROOT": str(folder), "PYTHONPATH": str(_repository())}
    environment.pop("MLFLOW_TRACKING_URI", None)
    began = time.perf_counter()
    command = [sys.executable, "-m", "pipelines.train", *overrides]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    arrivals: list[float] = []
    first_sec = 0.0
    while process.poll() is None:
        rows = [line for log in folder.glob("runs/*/ticks.jsonl") for line in log.read_text().splitlines()]
        now = time.perf_counter()
        arrivals += [now] * (len(rows) - len(arrivals))
        if rows and not first_sec:
            first_sec = float(yaml.safe_load(rows[0])["sec"])
        if now - began > WAIT_SEC:
            process.kill()
        time.sleep(0.02)
    if process.returncode or len(arrivals) < num_ticks + 1:
        raise SystemExit(f"scaling: the stage with {workers} worker(s) ended with {process.returncode}")
    kimg = params.train.tick_kimg * num_ticks
    return (arrivals[num_ticks] - arrivals[0]) / kimg, arrivals[0] - began - first_sec


def prepare(folder: Path, params: Params) -> None:
    """Random images, as an archive, and params.yaml"""
    from pipelines.prepare import prepare as stage_prepare
    from stylegan.config.pyramid import sides

    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(NUM_PICTURES):
        img = torch.rand(3, *sides(params.prepare.resolution), generator=torch.Generator().manual_seed(number))
        save_png((img * 255).to(torch.uint8), pictures / f"{number:03d}.png")
    config = params.prepare.model_copy(update={"source": str(pictures), "labels": "none", "holdout_fraction": 0.0})
    (folder / "data").mkdir()
    stage_prepare(config, folder / "data/archive.zip", folder / "manifest.json", earth=folder / "none", workers=1)
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))


def rounds(limit_sec: float) -> Iterator[int]:
    """0, 1, .. as long as another round of the longest so far ends before the limit"""
    began = latest = time.monotonic()
    longest, number = 0.0, 0
    while number == 0 or latest - began + longest <= limit_sec:
        yield number
        now = time.monotonic()
        longest, latest, number = max(longest, now - latest), now, number + 1


def measure(params: Params, limit_sec: float, num_ticks: int) -> Measured:
    """All rounds"""
    began, kimg = time.monotonic(), params.train.tick_kimg * num_ticks
    g_params, d_params = advice.parameter_counts(params)
    plain: dict[int, list[float]] = {count: [] for count in WORKERS}
    staged: dict[int, list[tuple[float, float]]] = {count: [] for count in STAGE_WORKERS}
    small: list[float] = []
    large: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, params)
        with groups(folder) as started:
            for _ in rounds(limit_sec - (time.monotonic() - began)):
                for count, group in started.items():
                    plain[count].append(group.sec(f"ticks {num_ticks}") / kimg)
                small.append(started[2].sec(f"reduce 4 {REDUCTIONS}") / REDUCTIONS)
                large.append(started[2].sec(f"reduce {4 * g_params} {REDUCTIONS}") / REDUCTIONS)
                for count in STAGE_WORKERS:
                    staged[count].append(stage(folder, params, count, num_ticks))
    return Measured(
        plain=plain,
        stage={count: [speed for speed, _ in values] for count, values in staged.items()},
        start_sec={count: [sec for _, sec in values] for count, values in staged.items()},
        small_sec=statistics.median(small),
        large_sec=statistics.median(large),
        num_params=(g_params, d_params),
    )


def main(arguments: Sequence[str]) -> None:
    """Measure, and write the page."""
    if arguments[:1] == ["worker"]:
        worker(int(arguments[1]), int(arguments[2]), Path(arguments[3]))
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="minutes for all rounds together (default: %(default)g)"
    )
    parser.add_argument("--ticks", type=int, default=2, help="ticks timed in each turn (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "scaling.md")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    options = parser.parse_args(arguments)
    params = load(ROOT / "params.yaml", [*OVERRIDES, *options.overrides])
    # A tick is a whole period of the lazy regularisers.
    steps = math.lcm(params.loss.g_reg_interval, params.loss.d_reg_interval)
    params = load(
        ROOT / "params.yaml",
        [*OVERRIDES, *options.overrides, f"train.tick_kimg={steps * params.train.batch_size / 1000}"],
    )
    began = time.monotonic()
    measured = measure(params, 60 * options.minutes, options.ticks)
    options.out.write_text(scaling_page.page(params, measured))
    print(f"Wrote {options.out} after {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    main(sys.argv[1:])
