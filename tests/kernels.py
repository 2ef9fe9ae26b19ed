"""Kernels against stock torch: one comparison for every operation, of values, first and second derivatives."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from stylegan.ops import kernels

# Relative to the largest value, or absolute where that is below 1.
# float32 rounds at 6e-8. Both sides add the same products, up to some hundred of them, in another order.
FP32 = 3e-6
# Half precisions round at 5e-4 and 4e-3, interpreted at 8e-3: the result, gradients, and what second ones are made of.
HALF = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
LAYOUTS = [torch.channels_last, torch.contiguous_format]


class Kernels(TorchDispatchMode):
    """Names of the kernels that run, in order"""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "stylegan":
            self.names.append(func._opname)
        return func(*args, **(kwargs or {}))


def assert_equal_to_stock(
    function: Callable[..., Tensor], *inputs: Tensor, tolerance: float = FP32, runs: str | None = None
) -> None:
    """Values and derivatives of a function of the operations, computed by kernels and by stock torch in float32

    runs: kernel that has to be among those that compute it, beside any other
    """
    with kernels.using("stock"), Kernels() as none:
        want = derivatives(function, [x if x.dtype == torch.float64 else x.float() for x in inputs])
    with kernels.using("auto"), Kernels() as some:
        got = derivatives(function, inputs)
    assert not none.names
    assert some.names if runs is None else runs in some.names
    assert_close(got, want, tolerance)


def derivatives(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Value, gradients of its weighted sum, and gradients of a weighted sum of these, also along the first weights"""
    inputs = [x.detach().requires_grad_() for x in inputs]
    out = function(*inputs)
    weights = wave(out).requires_grad_()
    first = torch.autograd.grad(out, inputs, weights, create_graph=True, materialize_grads=True)
    total = torch.stack([(grad * wave(grad)).float().sum() for grad in first]).sum()
    second = torch.autograd.grad(total, [*inputs, weights], materialize_grads=True)
    names = [*(f"input {index}" for index in range(len(inputs))), "weights"]
    return (
        {"value": out.detach()}
        | {f"gradient of {name}": grad.detach() for name, grad in zip(names, first, strict=False)}
        | {f"second derivative of {name}": grad for name, grad in zip(names, second, strict=True)}
    )


def assert_close(got: dict[str, Tensor], want: dict[str, Tensor], tolerance: float) -> None:
    """Each tensor, in the measure above"""
    for name, expected in want.items():
        assert got[name].shape == expected.shape, name
        if expected.numel():
            error = (got[name].double() - expected.double()).abs().max() / max(expected.double().abs().max(), 1)
            assert error <= tolerance, f"{name} differs by {error:.1e}"


def wave(like: Tensor) -> Tensor:
    """Numbers from -1 to 1 that do not repeat, of a tensor's shape, layout, type and device"""
    numbers = torch.arange(1.0, 1 + like.numel(), device=like.device).mul(0.7).sin().reshape(like.shape)
    return torch.empty_like(like).copy_(numbers)


def randn(*shape: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Equal numbers on every device"""
    return torch.randn(shape).to(device, dtype)
