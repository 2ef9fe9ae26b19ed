"""Float32 is float32 wherever something is measured or drawn, and in training unless TF32 is asked for.

On a processor these flags change nothing, so that each process sets them is all that is tested without a GPU.
"""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pipelines.ablate import runner
from pipelines.cluster.files import Shared
from pipelines.evaluate.on_cluster import Job, make_evaluator, measure_worker
from pipelines.params import Params
from pipelines.plan.cost import timing
from pipelines.render import render
from stylegan.__main__ import build_parser, main
from stylegan.backends import configure_backends, exact_float32, prepare_device
from stylegan.checkpoint import save_generator
from stylegan.data import ImageDataset
from stylegan.metrics.evaluation.evaluator import Sweep
from stylegan.networks import Generator
from stylegan.ops import kernels

Make = Callable[..., Params]
CPU = torch.device("cpu")
Prepared = list[tuple[str, torch.device, tuple[bool, bool]]]
LINE = "kernels: fir, bias_act"


def tf32() -> tuple[bool, bool]:
    """Whether convolutions and matrix products may round to TF32"""
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.fixture
def tf32_before() -> None:
    """A process that has chosen TF32"""
    configure_backends(allow_tf32=True)
    assert tf32() == (True, True)


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Mode, device and TF32 flags of each time that kernels were chosen; they answer with LINE"""
    found: Prepared = []

    def prepare(mode: str, device: torch.device) -> str:
        found.append((mode, device, tf32()))
        return LINE

    monkeypatch.setattr(kernels, "prepare", prepare)
    return found


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("allow", [True, False])
def test_every_flag_is_set_whatever_it_was(allow: bool, before: bool) -> None:
    configure_backends(allow_tf32=before)
    configure_backends(allow_tf32=allow)
    assert tf32() == (allow, allow)
    assert torch.backends.cudnn.benchmark is True
    matmul = torch.backends.cuda.matmul
    assert not matmul.allow_fp16_reduced_precision_reduction
    assert not matmul.allow_bf16_reduced_precision_reduction


def test_torch_is_told_in_silence_and_can_still_read_both_of_its_interfaces() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for allow, products in ((True, "high"), (False, "highest")):
            configure_backends(allow_tf32=allow)
            assert torch.get_float32_matmul_precision() == products
            assert (torch.backends.cudnn.conv.fp32_precision == "tf32") == allow
            with torch.backends.cudnn.flags(enabled=True):  # reads what it will restore
                pass


def test_measurements_are_exact_and_leave_the_choice_of_training_as_it_was(tf32_before: None) -> None:
    with exact_float32():
        assert tf32() == (False, False)
    assert tf32() == (True, True)
    with pytest.raises(ZeroDivisionError), exact_float32():
        1 / 0  # noqa: B018 - a measurement that fails
    assert tf32() == (True, True)
    torch.backends.cuda.matmul.allow_tf32 = False  # as torch comes: each keeps its own
    assert exact_float32()(tf32)() == (False, False)
    assert tf32() == (True, False)


@pytest.mark.parametrize("allow", [True, False])
def test_kernels_are_compared_with_exact_operations_whatever_training_chose(allow: bool, prepared: Prepared) -> None:
    assert prepare_device(CPU, "stock", allow_tf32=allow) == LINE
    assert prepared == [("stock", CPU, (False, False))]
    assert tf32() == (allow, allow)


def test_a_processor_has_nothing_to_say() -> None:
    assert prepare_device(CPU, "auto", allow_tf32=False) is None


@pytest.mark.parametrize("allow", [True, False])
def test_a_timed_step_is_that_of_training(allow: bool, make_params: Make, prepared: Prepared) -> None:
    params = make_params(f"train.allow_tf32={allow}", "train.kernels=stock", "loss.d_reg_interval=1")
    timing.seconds_per_step(params.model_copy(update={"loss": params.loss.model_copy(update={"pl_weight": 0})}), 3, 0)
    assert [mode for mode, _, _ in prepared] == ["stock"]
    assert tf32() == (allow, allow)


def test_an_evaluating_worker_is_exact_and_says_which_kernels_it_uses(
    tf32_before: None, tiny_params: Params, tiny_archive: Path, monkeypatch: pytest.MonkeyPatch,
    prepared: Prepared,
) -> None:  # fmt: skip
    monkeypatch.setattr("ray.train.torch.get_device", lambda: CPU)
    said: list[str] = []
    counter = SimpleNamespace(
        say=SimpleNamespace(remote=said.append), report=SimpleNamespace(remote=lambda worker, done: None)
    )
    dataset = ImageDataset(tiny_archive, use_labels=False, xflip=False, split="train", max_images=None)
    evaluator = make_evaluator(tiny_params.evaluate, dataset, tiny_archive)
    sweep = Sweep("generator", Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0), (1.0,))
    archive = Shared(tiny_archive, dataset.digest, None, None)
    outcome = measure_worker(Job(evaluator, [sweep], archive, dataset, None, None, 1, "stock", counter))
    assert outcome is not None
    assert outcome.problem is None
    assert prepared == [("stock", CPU, (False, False))]
    assert (said[0], tf32()) == (LINE, (False, False))


def test_a_page_is_drawn_exactly(tf32_before: None, tiny_params: Params, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"metrics\.json: file not found"):  # there is nothing to draw
        render(tiny_params, tmp_path)
    assert tf32() == (False, False)


def test_peaks_of_feature_maps_are_exact(tf32_before: None, tiny_params: Params, prepared: Prepared) -> None:
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0).eval().requires_grad_(False)
    runner._peaks(G, torch.zeros(2, 0), 2, CPU, "stock")
    assert [mode for mode, _, _ in prepared] == ["stock"]
    assert tf32() == (False, False)


@pytest.mark.parametrize(("more", "mode"), [([], "auto"), (["--kernels", "stock"], "stock")])
def test_a_command_is_exact_and_says_on_stderr_which_kernels_it_uses(
    more: list[str], mode: str, tf32_before: None, tiny_params: Params, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], prepared: Prepared,
) -> None:  # fmt: skip
    G = Generator(tiny_params.generator, img_resolution=16, img_channels=3, c_dim=0)
    save_generator(G, path := tmp_path / "generator.safetensors", None)
    assert main(["generate", str(path), "--seeds", "0", "--out", str(tmp_path / "out"), *more]) == 0
    assert prepared == [(mode, CPU, (False, False))]
    shown = capsys.readouterr()
    assert (shown.err, LINE in shown.out) == (f"{LINE}\n", False)
    assert tf32() == (False, False)


def test_every_command_that_takes_a_device_lets_its_kernels_be_chosen() -> None:
    (commands,) = (each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    options = {name: {each.dest for each in parser._actions} for name, parser in commands.choices.items()}
    on_device = {name for name, names in options.items() if "device" in names}
    assert on_device >= {"generate", "mix", "interpolate", "project"}
    assert on_device == {name for name, names in options.items() if "kernels" in names}


def test_a_command_without_a_device_is_exact_too(tf32_before: None, tmp_path: Path) -> None:
    assert main(["import", str(tmp_path / "absent.pkl"), str(tmp_path / "out.safetensors")]) == 1
    assert tf32() == (False, False)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")
@pytest.mark.parametrize("operation", ["convolution", "product"])
def test_float32_is_float32_on_a_gpu(operation: str, tf32_before: None) -> None:
    draw: dict[str, Any] = {"device": "cuda", "dtype": torch.float64}
    img, kernel = torch.randn(4, 64, 32, 32, **draw), torch.randn(64, 64, 3, 3, **draw)
    factor = torch.randn(512, 512, **draw)

    def of(dtype: torch.dtype) -> torch.Tensor:
        if operation == "convolution":
            return F.conv2d(img.to(dtype), kernel.to(dtype), padding=1).double()
        return (factor.to(dtype) @ factor.to(dtype)).double()

    configure_backends(allow_tf32=False)
    error = (of(torch.float32) - of(torch.float64)).norm() / of(torch.float64).norm()
    assert error < 1e-6  # sums of 576 and 512 products; TF32 keeps 10 bits of each factor and comes to 3e-4
