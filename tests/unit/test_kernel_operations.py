"""The kernels as operations of torch.library: what meta and fake tensors promise of them is what they return.

Interpreted on the CPU, and compiled where there is CUDA.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from stylegan.ops import kernels, setup_filter, style_layer, upfirdn2d
from stylegan.ops.bias_act import scale_bias_act
from tests.kernels import LAYOUTS, Kernels, randn

ACTIVATION = (0.2, 1.5, 256.0)
TESTS = ("test_schema", "test_faketensor")  # no derivatives are registered: autograd.Functions have them
Calls = dict[str, list[tuple[Any, ...]]]


def calls(device: torch.device, layout: torch.memory_format) -> Calls:
    """Arguments of every operation: with everything, and with as little as there may be"""
    x, grad = (randn(2, 3, 4, 2, device=device).contiguous(memory_format=layout) for _ in range(2))
    after = randn(2, 3, device=device), randn(1, 1, 4, 2, device=device), randn(device=device), randn(3, device=device)
    none, f = (None,) * 4, randn(2, 1, device=device)
    sums, weight = randn(2, 3, device=device), randn(3, 2, 3, 3, device=device).contiguous(memory_format=layout)
    styles, squares = randn(2, 5, device=device), randn(3, 5, device=device).square()
    strided = layout == torch.channels_last  # what else may come in another order
    styles, squares = (part.t().contiguous().t() if strided else part for part in (styles, squares))
    small = randn(2, 3, device=device), randn(2, device=device)
    return {
        "upfirdn2d": [
            (x, f, None, *none, (1, 1), (1, 1), (0, 0, 1, 0), 1.0, False, 1.0, 1.0, None),
            (x.half(), f, grad, *after, (1, 1), (1, 1), (0, 0, 1, 0), 1.0, True, *ACTIVATION),
            (x, f, None, *none, (1, 2), (2, 1), (1, 0, 0, 1), 1.0, False, 1.0, 1.0, None),
            (x[:0], f, None, *none, (1, 1), (1, 1), (0, 0, 1, 0), 1.0, False, 1.0, 1.0, None),
        ],
        "scale_bias_act": [
            (x, *none, *ACTIVATION),
            (x.half(), *after, *ACTIVATION),
            (x[:, :, ::2], *none, *ACTIVATION),
        ],
        "scale_bias_act_backward": [
            (grad, x, *after, *ACTIVATION, False, (True, True, True)),
            (grad.half(), x.half(), *none, *ACTIVATION, False, (False, True, False)),
            (grad, x, *none, *ACTIVATION, False, (False, False, False)),
            (grad, x, after[0], None, None, None, 1.0, 1.0, None, True, (True, False, False)),
            (grad[:0], x[:0], *none, *ACTIVATION, False, (False, True, False)),
        ],
        "scale_bias_act_double_backward": [
            (grad, sums, grad, x, *after, *ACTIVATION, False),
            (None, sums.t().contiguous().t(), grad.half(), x.half(), after[0], None, None, None, 1.0, 1.0, None, True),
        ],
        "prepare_weight": [
            (weight, 0.5, True, True, False, torch.float16),
            (weight, 0.5, False, False, True, torch.float32),
        ],
        "prepare_weight_backward": [
            (randn(3, 2, 3, 3, device=device), randn(3, 2, device=device), weight, randn(3, device=device)),
            (None, randn(3, 2, device=device), weight, randn(3, device=device)),
        ],
        "demodulate": [(styles, squares, True), (styles[:0], squares, False)],
        "demodulate_backward": [
            (styles, small[0], randn(2, 5, device=device), squares, randn(2, 3, device=device), small[1]),
            (None, small[0], randn(2, 5, device=device), squares, randn(2, 3, device=device), small[1]),
        ],
    }  # fmt: skip


NAMES = list(calls(torch.device("meta"), torch.channels_last))


def test_every_operation_is_among_those_checked() -> None:
    from stylegan.ops.kernels import library

    assert sorted(NAMES) == sorted(name.removeprefix("stylegan::") for name in library.LIBRARY._op_defs)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_fake_tensors_tell_shape_type_and_strides(
    name: str, layout: torch.memory_format, kernel_device: torch.device
) -> None:
    for arguments in calls(kernel_device, layout)[name]:
        torch.library.opcheck(getattr(torch.ops.stylegan, name).default, arguments, test_utils=TESTS)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_meta_tensors_tell_the_same(name: str, layout: torch.memory_format, kernel_device: torch.device) -> None:
    operation = getattr(torch.ops.stylegan, name)
    for arguments in calls(kernel_device, layout)[name]:
        found = operation(*arguments)
        promised = operation(*tree_map_only(Tensor, without_numbers, arguments))
        pairs = [(found, promised)] if isinstance(found, Tensor) else list(zip(found, promised, strict=True))
        for got, told in pairs:
            assert (got.shape, got.dtype, got.stride()) == (told.shape, told.dtype, told.stride())


def without_numbers(x: Tensor) -> Tensor:
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")


def on_meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta", requires_grad=True)


def layer() -> Tensor:
    f, noise = setup_filter([1.0, 3.0, 3.0, 1.0]).to("meta"), on_meta(1, 1, 8, 8).detach()
    return style_layer(
        on_meta(2, 3, 4, 4), on_meta(5, 3, 3, 3), on_meta(2, 3), f, noise, on_meta(), on_meta(5), "lrelu", up=2
    )


def test_meta_tensors_count_what_a_gpu_does() -> None:
    with Kernels() as ran:
        layer().sum().backward()
    assert ran.names == [
        *("prepare_weight", "demodulate", "scale_bias_act", "upfirdn2d"),
        *("scale_bias_act_backward", "upfirdn2d", "scale_bias_act_backward"),
        *("demodulate_backward", "prepare_weight_backward"),
    ]


def test_meta_tensors_count_stock_torch_where_that_is_chosen() -> None:
    with Kernels() as ran, kernels.using("stock"):
        layer().sum().backward()
    assert ran.names == []


@pytest.mark.parametrize("function", [lambda x: upfirdn2d(x, torch.ones(3, 3), padding=1)])
def test_double_precision_is_stock_torch(function: Callable[[Tensor], Tensor], kernel_device: torch.device) -> None:
    with Kernels() as ran:
        assert function(torch.ones(1, 1, 3, 3, dtype=torch.float64)).dtype == torch.float64
    assert ran.names == []


@pytest.mark.parametrize("has_scale", [True, False])
def test_what_follows_a_convolution_keeps_nothing_of_its_size_but_the_result(has_scale: bool) -> None:
    x, scale, bias, noise = on_meta(2, 3, 8, 8), on_meta(2, 3), on_meta(3), on_meta(2, 1, 8, 8).detach()
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        out = scale_bias_act(x, scale if has_scale else None, noise, on_meta(), bias, "lrelu", clamp=256.0)
    large = [tensor for tensor in kept if tensor.shape == out.shape]
    assert [tensor.untyped_storage()._cdata for tensor in large] == [out.untyped_storage()._cdata]


def test_images_that_32_bits_cannot_count_are_refused_with_the_remedy() -> None:
    launch = pytest.importorskip("stylegan.ops.kernels.launch")
    huge = torch.empty(1, 2**15, 2**8, 2**8, device="meta")  # 2^31 elements
    with pytest.raises(ValueError, match=r"2,147,483,648 elements an image .*smaller images or batches, or .*stock"):
        launch.scale_bias_act(huge, None, None, None, None, 1.0, 1.0, None)
