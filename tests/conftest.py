"""Fixtures every test may use: the parameters of a tiny real run (16 x 16 images, at most 4 channels in a layer)."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from pipelines.params import Params, load

os.environ.pop("RAY_ADDRESS", None)  # no test may run on somebody's cluster

# Triton reads this when it is imported, which torch may do at any time. Without CUDA no kernel runs unless a test asks
# for it (kernel_device), so processes that inherit it compute as ever; with CUDA kernels are compiled, as for users.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

# The same examples on every machine and day, and no failure because a machine is busy.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")

REPOSITORY = Path(__file__).resolve().parent.parent
STARTS_PROCESSES = {"distributed", "e2e", "integration"}  # folders of tests that need the machine to answer in time

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # two processes share two cores
    # Ignored here, SIGHUP if nohup started the tests; processes would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# Every number that decides cost is named here, so that tuning params.yaml changes no test.
TINY = (
    "prepare.resolution=16",
    "prepare.max_images=null",
    "data.use_labels=false",
    "data.xflip=false",
    "data.max_images=null",
    "generator.style_block=demodulation",
    "generator.architecture=skip",
    "generator.z_dim=8",
    "generator.w_dim=8",
    "generator.mapping_layers=2",
    "generator.channel_base=64",
    "generator.channel_max=4",
    "generator.conv_clamp=null",
    "generator.use_noise=true",
    "discriminator.architecture=resnet",
    "discriminator.mapping_layers=2",
    "discriminator.channel_base=64",
    "discriminator.channel_max=4",
    "discriminator.conv_clamp=null",
    "discriminator.mbstd_group_size=2",
    "discriminator.mbstd_num_channels=1",
    "augment.mode=ada",
    "augment.p=0.0",
    "augment.multipliers.imgfilter=0",
    "augment.ada_kimg=100",
    "loss.r1_gamma=0.01",
    "loss.pl_weight=2",
    "loss.pl_batch_shrink=2",
    "loss.g_reg_interval=8",
    "loss.style_mixing_prob=0.9",
    "train.seed=0",
    "train.total_kimg=0.032",
    "train.batch_size=4",
    "train.batch_gpu=4",
    "train.g_lr=0.0025",
    "train.d_lr=0.0025",
    "train.ema_kimg=5",
    "train.tick_kimg=0.008",
    "train.snapshot_ticks=1",
    "train.precision=fp32",
    "train.resume_from=null",
    "train.label_transfer=reinit",
    "train.freeze_d=0",
    "train.freeze_g=0",
    "train.freeze_mapping=false",
    "train.grow_from=null",
    "monitor.extractor=random",
    "monitor.extractor_input_size=16",
    "monitor.num_images=8",
    "monitor.pr_neighbors=1",
    "monitor.export=best",
    "evaluate.extractor=random",
    "evaluate.extractor_input_size=16",
    "evaluate.ppl_network=random",
    "evaluate.num_images=8",
    "evaluate.batch_size=4",
    "evaluate.metrics=[kid, fid, pr, memorization, ppl2_wend]",
    "evaluate.bootstrap_num_resamples=10",
    "evaluate.bootstrap_level=0.95",
    "evaluate.neighbors_num_shown=2",
    "evaluate.kid_num_subsets=4",
    "evaluate.kid_subset_size=4",
    "evaluate.pr_neighbors=1",
    "evaluate.ppl_num_pairs=4",
    "render.num_seeds=4",
    "render.strip_num_seeds=2",
    "render.mixing_rows=[0, 1]",
    "render.mixing_cols=[2, 3]",
    "render.interpolation_images=2",
    "render.interpolation_frames=2",
    "cluster.address=null",
    "cluster.num_workers=1",
    "cluster.cpus_per_worker=1",
    "cluster.use_gpu=false",
    "cluster.collective_timeout_sec=600",
    "cluster.storage_path=null",
    "cluster.cache_path=null",
    "tracking.uri=null",
    "tracking.system_metrics=false",
    "ablate.total_kimg=0.032",
    "ablate.metrics=[kid, fid, pr, ppl2_wend]",
    "ablate.peaks_num_images=8",
)


ASKED_FOR = ("cluster", "faults", "long")  # markers of tests that take minutes


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """One process runs all tests that start processes, one after the other; the others run each file whole."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return "processes" if starts_processes(path) else path

    return Scheduling(config, log)


def starts_processes(path: str) -> bool:
    """Whether a test, by its path below the repository, is one of those that take turns"""
    return path.split("/")[1] in STARTS_PROCESSES


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put what takes longest first, and leave out what is not asked for."""
    items.sort(key=lambda item: not starts_processes(item.nodeid))
    if not any("::" in argument for argument in config.args):
        _leave_out(config, items)


def _leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes minutes runs only with `-m` and its marker, the first of ASKED_FOR that it has, or by its name."""
    left_out = [item for item in items if (marker := _asks_for(item)) and marker not in config.option.markexpr]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _asks_for(item: pytest.Item) -> str | None:
    names = {marker.name for marker in item.iter_markers()}
    return next((marker for marker in ASKED_FOR if marker in names), None)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def make_params() -> Callable[..., Params]:
    """make_params("train.seed=1", ...) -> the tiny parameters with these overrides."""

    def make(*overrides: str) -> Params:
        return load(REPOSITORY / "params.yaml", [*TINY, *overrides])

    return make


@pytest.fixture(scope="session")
def tiny_params(make_params: Callable[..., Params]) -> Params:
    """Parameters of a run that takes seconds; a Params is a Config, so its sections fit every function."""
    return make_params()


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of floats depend on the number of threads; exact comparisons need the same one on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, alone or after others."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def own_backends() -> Iterator[None]:
    """What a test chooses of torch's process-wide flags ends with it."""
    import torch

    from stylegan.backends import exact_float32

    matmul = torch.backends.cuda.matmul
    benchmark = torch.backends.cudnn.benchmark
    fp16, bf16 = matmul.allow_fp16_reduced_precision_reduction, matmul.allow_bf16_reduced_precision_reduction
    with exact_float32():
        yield
    torch.backends.cudnn.benchmark = benchmark
    matmul.allow_fp16_reduced_precision_reduction, matmul.allow_bf16_reduced_precision_reduction = fp16, bf16


@pytest.fixture
def interpreted_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels compute what is on the CPU."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("kernels are compiled for CUDA here; TRITON_INTERPRET=1 interprets them")
    from triton.runtime import interpreter

    from stylegan.ops.kernels import choice

    monkeypatch.setattr(choice, "_trusted", {*choice._trusted, "cpu"})
    # Half of the time went into looking for overflows of integers, which images this small cannot bring about.
    options = interpreter.InterpreterOptions(sanitize_overflow=False)
    monkeypatch.setattr(interpreter.interpreter_builder, "options", options)
    with np.errstate(all="ignore"):  # a GPU does not warn of infinities either
        yield


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def kernel_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Where kernels compute in a test, tried or not: interpreted on the CPU, compiled on CUDA."""
    if request.param == "cpu":
        request.getfixturevalue("interpreted_kernels")
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA GPU")
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("TRITON_INTERPRET=1 interprets kernels, which are compiled for CUDA without it")
    from stylegan.ops.kernels import choice

    monkeypatch.setattr(choice, "_trusted", {*choice._trusted, "cuda"})
    return torch.device("cuda")


@pytest.fixture(scope="session")
def write_pictures() -> Callable[..., list[str]]:
    """write_pictures(folder, count, size=20) -> names of colourful PNGs written there, each unlike the others."""
    from PIL import Image

    def write(folder: Path, count: int, size: int = 20) -> list[str]:
        folder.mkdir(parents=True, exist_ok=True)
        names = [f"good{number:02d}.png" for number in range(count)]
        for number, name in enumerate(names):
            coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
            Image.fromarray(coarse).resize((size, size)).save(folder / name)
        return names

    return write


@pytest.fixture(scope="session")
def tiny_archive(
    tmp_path_factory: pytest.TempPathFactory,
    make_params: Callable[..., Params],
    write_pictures: Callable[..., list[str]],
) -> Path:
    """Archive of 24 pictures of 16 x 16 RGB in two classes (circle, square), 18 to train and 6 held out."""
    from pipelines.prepare import prepare

    folder = tmp_path_factory.mktemp("tiny")
    for name in ("circle", "square"):
        write_pictures(folder / "images" / name, 12, size=16 if name == "circle" else 20)
    config = make_params(
        f"prepare.source={folder / 'images'}", "prepare.labels=folders", "prepare.holdout_fraction=0.25"
    ).prepare
    prepare(config, folder / "archive.zip", folder / "manifest.json", earth=folder / "none.jpg", workers=1)
    return folder / "archive.zip"
