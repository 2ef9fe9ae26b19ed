"""Which operations kernels compute: by mode, device, and what a trial on the device found."""

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from stylegan.ops import bias_act, kernels, setup_filter, style_layer, upfirdn2d
from stylegan.ops.kernels import choice, trial
from tests.kernels import Kernels

ALL = ["upfirdn2d", "scale_bias_act", "prepare_weight"]
CUDA = torch.device("cuda")
AGREES = lambda device, dtype: 0.0  # noqa: E731


@pytest.fixture(autouse=True)
def untried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No device has been tried, nor is any afterwards; the mode is as it was."""
    choice.try_all.cache_clear()
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    with kernels.using("auto"):
        yield
    choice.try_all.cache_clear()


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """card(upfirdn2d=trial, ...) -> a GPU called H100 on which these trials do so, and all others agree."""

    def make(**trials: Callable[[torch.device, torch.dtype], float]) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")
        monkeypatch.setattr(trial, "TRIALS", dict.fromkeys(ALL, AGREES) | trials)

    return make


def raises(device: torch.device, dtype: torch.dtype) -> float:
    raise RuntimeError("no kernel image is available\nand a long explanation")


def on_cuda(dtype: torch.dtype = torch.float32) -> Tensor:
    """What is asked of a tensor, where there is no GPU to hold one"""
    return cast(Tensor, SimpleNamespace(dtype=dtype, device=CUDA, is_cuda=True))


@pytest.mark.parametrize("device", ["cpu", "mps", "xpu"])
def test_what_is_not_cuda_uses_stock_torch_and_says_nothing(device: str, card: Callable[..., None]) -> None:
    card()
    assert kernels.prepare("auto", torch.device(device)) is None
    x = cast(Tensor, SimpleNamespace(dtype=torch.float32, device=torch.device(device), is_cuda=False))
    assert not any(kernels.handles(name, x) for name in ALL)


def test_kernels_that_agree_are_used_and_named(card: Callable[..., None]) -> None:
    card()
    assert kernels.prepare("auto", CUDA) == "H100: Triton kernels upfirdn2d, scale_bias_act, prepare_weight"
    assert all(kernels.handles(name, on_cuda()) for name in ALL)


def test_every_kernel_has_a_trial() -> None:
    assert list(trial.TRIALS) == ALL


@pytest.mark.parametrize(
    ("behaves", "problem"),
    [
        (raises, "RuntimeError: no kernel image is available"),
        (lambda device, dtype: 0.3 if dtype == torch.float32 else 0.0, "differs by 3e-01 in float32"),
        (lambda device, dtype: 0.3 if dtype == torch.bfloat16 else 0.0, "differs by 3e-01 in bfloat16"),
        (lambda device, dtype: float("nan"), "differs by nan in float32"),
    ],
)
def test_a_kernel_that_fails_or_differs_is_named_and_left_out(
    behaves: Callable[..., float], problem: str, card: Callable[..., None]
) -> None:
    card(scale_bias_act=behaves)
    assert kernels.prepare("auto", CUDA) == (
        f"H100: Triton kernels upfirdn2d, prepare_weight; stock torch instead of scale_bias_act ({problem})"
    )
    assert [kernels.handles(name, on_cuda()) for name in ALL] == [True, False, True]


def test_a_card_on_which_none_works_trains_with_stock_torch(card: Callable[..., None]) -> None:
    card(**dict.fromkeys(ALL, raises))
    line = kernels.prepare("auto", CUDA)
    assert line is not None
    assert line.startswith("H100: stock torch operations; stock torch instead of upfirdn2d (RuntimeError: no kernel")
    assert not any(kernels.handles(name, on_cuda()) for name in ALL)


def test_each_device_is_tried_once_with_or_without_its_number(card: Callable[..., None]) -> None:
    tried = []
    card(upfirdn2d=lambda device, dtype: tried.append((device.index, dtype)) or 0.0)
    kernels.prepare("auto", CUDA)
    kernels.prepare("auto", torch.device("cuda", 0))
    for _ in range(3):
        assert kernels.handles("prepare_weight", on_cuda())
    assert tried == [(0, dtype) for dtype in trial.TOLERANCES]


def test_stock_is_said_and_tries_nothing(card: Callable[..., None]) -> None:
    card(**dict.fromkeys(ALL, raises))
    assert kernels.prepare("stock", CUDA) == "H100: stock torch operations (train.kernels is stock)"
    assert not any(kernels.handles(name, on_cuda()) for name in ALL)
    assert choice.try_all.cache_info().currsize == 0


def test_a_mode_holds_for_a_while_also_after_an_error(card: Callable[..., None]) -> None:
    card()
    with kernels.using("stock"):
        assert not kernels.handles("upfirdn2d", on_cuda())
        with kernels.using("auto"):
            assert kernels.handles("upfirdn2d", on_cuda())
        assert not kernels.handles("upfirdn2d", on_cuda())
    with pytest.raises(KeyError), kernels.using("stock"):
        raise KeyError
    assert kernels.handles("upfirdn2d", on_cuda())


def test_other_types_use_stock_torch(card: Callable[..., None]) -> None:
    card()
    assert not any(kernels.handles(name, on_cuda(torch.float64)) for name in ALL)
    assert all(kernels.handles(name, on_cuda(dtype)) for name in ALL for dtype in choice.DTYPES)


@pytest.mark.parametrize(
    ("broken", "runs"),
    [
        ([], ["prepare_weight", "demodulate", "scale_bias_act", "upfirdn2d"]),
        (["upfirdn2d"], ["prepare_weight", "demodulate", "scale_bias_act", "scale_bias_act"]),
        (["prepare_weight"], ["upfirdn2d"]),
        (["scale_bias_act"], ["upfirdn2d"]),
        (ALL, []),
    ],
)
def test_a_layer_uses_the_kernels_that_work(
    broken: list[str], runs: list[str], card: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    card(**dict.fromkeys(broken, raises))
    monkeypatch.setattr(kernels, "handles", lambda name, x: choice.handles(name, on_cuda(x.dtype)))
    shapes = (2, 3, 4, 4), (5, 3, 3, 3), (2, 3), (4, 4), (1, 1, 8, 8), (), (5,)
    with Kernels() as ran:
        style_layer(*(torch.empty(shape, device="meta") for shape in shapes), "lrelu", up=2)
    assert ran.names == runs


@pytest.fixture
def tried_device(kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Where trials run; on a few pixels where kernels are interpreted"""
    if kernel_device.type == "cpu":
        monkeypatch.setattr(trial, "SHAPE", (1, 2, 3, 2))
    return kernel_device


def test_trials_find_no_problem(tried_device: torch.device) -> None:
    assert choice.try_all(tried_device) == dict.fromkeys(ALL)


@pytest.mark.parametrize(
    ("launcher", "named"),
    [
        ("upfirdn2d", "upfirdn2d"),
        ("scale_bias_act", "scale_bias_act"),
        ("scale_bias_act_backward", "scale_bias_act"),
        ("scale_bias_act_double_backward", "scale_bias_act"),
        ("prepare_weight", "prepare_weight"),
        ("prepare_weight_backward", "prepare_weight"),
        ("demodulate", "prepare_weight"),
        ("demodulate_backward", "prepare_weight"),
    ],
)
def test_trials_find_what_is_wrong_with_any_kernel(
    launcher: str, named: str, tried_device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stylegan.ops.kernels import launch

    right = getattr(launch, launcher)

    @functools.wraps(right)
    def wrong(*args: Any) -> Any:
        found = right(*args)
        first = found if isinstance(found, Tensor) else found[0]
        first.mul_(1.1)
        return found

    monkeypatch.setattr(launch, launcher, wrong)
    problem = trial._problem(trial.TRIALS[named], tried_device)
    assert problem is not None
    assert problem.startswith("differs by ")


def test_trials_draw_no_random_numbers(kernel_device: torch.device) -> None:
    before = torch.get_rng_state()
    trial.TRIALS["prepare_weight"](kernel_device, torch.float32)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_triton_every_kernel_says_so(kernel_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    package = importlib.import_module("stylegan.ops.kernels")
    for name in ("launch", "pointwise", "resampling", "weights"):
        monkeypatch.delitem(sys.modules, f"stylegan.ops.kernels.{name}", raising=False)
        monkeypatch.delattr(package, name, raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    problems = trial.try_all(kernel_device)
    assert list(problems) == ALL
    assert all("ModuleNotFoundError: import of triton" in str(problem) for problem in problems.values())


class Layer(nn.Module):
    """Every operation that has a kernel"""

    def forward(self, x: Tensor, weight: Tensor, styles: Tensor) -> Tensor:
        f = setup_filter([1.0, 3.0, 3.0, 1.0])
        x = style_layer(x, weight, styles, f, torch.ones(1, 1, 8, 8), torch.ones(()), torch.ones(2), "lrelu", up=2)
        return bias_act(upfirdn2d(x, f, down=2, padding=1), torch.ones(2), "lrelu", clamp=1.0)


def test_exported_graphs_hold_stock_operations_only(kernel_device: torch.device) -> None:
    if kernel_device.type != "cpu":
        pytest.skip("the filter of this layer is made on the CPU")
    inputs = torch.ones(1, 2, 4, 4), torch.ones(2, 2, 3, 3), torch.ones(1, 2)
    with Kernels() as ran:
        Layer()(*inputs)
    assert {"upfirdn2d", "scale_bias_act", "prepare_weight"} <= set(ran.names)
    program = torch.export.export(Layer(), inputs)
    targets = [str(node.target) for node in program.graph.nodes]
    assert any(target.startswith("aten.conv") for target in targets)
    assert not [target for target in targets if "stylegan" in target]
