"""Operations of a phase, their bytes and floating point operations, counted on meta tensors: no device, no clock."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

# Beginnings of the names of operations that move no data.
VIEWS = (
    "view", "expand", "permute", "transpose", "t.default", "slice", "select", "unsqueeze", "squeeze", "detach", "alias",
    "as_strided", "split", "unbind", "_unsafe_view", "empty", "lift_fresh", "_reshape_alias",
)  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """One call: every tensor it takes or makes is read or written once."""

    name: str
    bytes: int
    flops: int


@dataclass
class Counted:
    """The operations of a phase."""

    operations: list[Operation] = field(default_factory=list)

    def summary(self, bytes_per_sec: float, flops_per_sec: float) -> dict[str, float]:
        """Totals, and the milliseconds of a device that reaches one of both limits in every operation"""
        sec = sum(max(each.bytes / bytes_per_sec, each.flops / flops_per_sec) for each in self.operations)
        return {
            "operations": len(self.operations),
            "gigabytes": sum(each.bytes for each in self.operations) / 1e9,
            "teraflops": sum(each.flops for each in self.operations) / 1e12,
            "milliseconds": 1000 * sec,
        }


class Count(TorchDispatchMode):
    """Fills `counted` with what is called while the mode is on."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counted = Counted()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor) and leaf.is_meta]
        name = re.sub("^aten[.]", "", str(func))
        if tensors and not name.startswith(VIEWS):
            size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            formula = flop_registry.get(func._overloadpacket)
            flops = formula(*args, **kwargs, out_val=out) if formula else 0
            self.counted.operations.append(Operation(name, size, flops))
        return out


def count(run: Callable[[], None]) -> Counted:
    """Operations on meta tensors while it runs"""
    mode = Count()
    with mode:
        run()
    return mode.counted


@dataclass(frozen=True)
class Convolution:
    """A call of a convolution or of its gradients: all that it takes to make it again on other tensors."""

    func: str  # convolution | convolution_backward
    tensors: tuple[tuple[tuple[int, ...], torch.dtype] | None, ...]  # shapes and dtypes of the leading arguments
    rest: tuple[Any, ...]  # bias sizes, stride, padding, dilation, transposed, output padding, groups, output mask


class Convolutions(TorchDispatchMode):
    """Fills `calls` with the convolutions made while the mode is on, without the filters that resample images."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: dict[Convolution, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        packet = getattr(func, "_overloadpacket", None)
        if packet in (aten.convolution, aten.convolution_backward):
            call = _described(packet, args)
            is_filter = args[8 if packet is aten.convolution else 9] > 1  # one kernel for each channel
            if not is_filter:
                self.calls[call] = self.calls.get(call, 0) + 1
        return func(*args, **(kwargs or {}))


def _described(packet: Any, args: Any) -> Convolution:
    def hashable(value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    tensors = tuple(None if each is None else (tuple(each.shape), each.dtype) for each in args[:TENSORS])
    return Convolution(packet._qualified_op_name.split("::")[1], tensors, tuple(map(hashable, args[TENSORS:])))


TENSORS = 3  # x, weight, bias; of the gradients grad, x, weight


def convolutions(run: Callable[[], None]) -> dict[Convolution, int]:
    """Calls of convolutions while it runs, each with how often it is made"""
    mode = Convolutions()
    with mode:
        run()
    return mode.calls
