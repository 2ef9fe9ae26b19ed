"""What is found in a file, as inert records: numbers stay where they are until a network asks for them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from stylegan.official.errors import OfficialFileError

MAX_DIMENSIONS = 8
FLOATS = ("f2", "f4", "f8")

Numbers = np.ndarray[Any, np.dtype[Any]]


class Weights(Protocol):
    """Numbers that a network may take."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def array(self) -> Numbers:
        """A copy in float32. Raises OfficialFileError unless all are finite floating-point numbers."""


@dataclass(slots=True, eq=False)
class Module:
    """A pickled nn.Module: what it was, never what its source does"""

    class_name: str
    version: int
    source: str
    state: dict[Any, Any]

    def child(self, *names: str) -> "Module | None":
        """The module at a path below this one, if there is one"""
        module: object = self
        for name in names:
            children = module.state.get("_modules") if isinstance(module, Module) else None
            module = children.get(name) if isinstance(children, dict) else None
        return module if isinstance(module, Module) else None

    @property
    def kwargs(self) -> dict[Any, Any]:
        """The arguments of its constructor"""
        return as_dict(self.state.get("_init_kwargs"))


@dataclass(slots=True, eq=False)
class Foreign:
    """A module of torch's own classes, which no official network has; what it holds is not looked at"""

    class_name: str


@dataclass(slots=True, eq=False)
class Storage:
    """Numbers in a row"""

    dtype: str  # code of NumPy
    numel: int
    data: memoryview


@dataclass(slots=True, eq=False)
class TensorRecord:
    """A view of a storage, checked to lie within it"""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shape) > MAX_DIMENSIONS or len(self.shape) != len(self.stride):
            raise OfficialFileError(f"a tensor has {len(self.shape)} dimensions and {len(self.stride)} strides")
        if not all(type(number) is int and number >= 0 for number in (self.offset, *self.shape, *self.stride)):
            raise OfficialFileError("a tensor has an invalid offset, size or stride: expected non-negative integers")
        numel = math.prod(self.shape)
        last = sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True)) if numel else -1
        if numel > self.storage.numel or self.offset + last >= self.storage.numel:
            raise OfficialFileError(f"a tensor reaches beyond its storage of {self.storage.numel} numbers")

    def array(self) -> Numbers:
        dtype = np.dtype(self.storage.dtype).newbyteorder("<")
        strides = [step * dtype.itemsize if size > 1 else 0 for size, step in zip(self.shape, self.stride, strict=True)]
        if 0 in self.shape:
            return np.zeros(self.shape, np.float32)
        view = np.ndarray(self.shape, dtype, self.storage.data, self.offset * dtype.itemsize, strides)
        return as_float32(view)


@dataclass(slots=True, eq=False)
class DType:
    """A numpy.dtype; byte order comes by BUILD"""

    code: str


@dataclass(slots=True, eq=False)
class ArrayRecord:
    """A numpy.ndarray; its content comes by BUILD"""

    shape: tuple[int, ...] = (0,)
    dtype: str = "f4"
    fortran: bool = False
    data: memoryview = field(default_factory=lambda: memoryview(b""))

    def fill(self, shape: object, dtype: object, fortran: object, data: object) -> None:
        """Raises OfficialFileError unless data has just as many bytes as the shape asks for."""
        if not isinstance(dtype, DType) or not isinstance(data, memoryview) or type(shape) is not tuple:
            raise OfficialFileError("an array without shape, type or content")
        if len(shape) > MAX_DIMENSIONS or not all(type(size) is int and size >= 0 for size in shape):
            raise OfficialFileError("an array has an invalid shape: expected a list of non-negative integers")
        if math.prod(shape) * np.dtype(dtype.code).itemsize != len(data):
            raise OfficialFileError(f"an array of another size than its {len(data)} bytes")
        self.shape, self.dtype, self.fortran, self.data = shape, dtype.code, bool(fortran), data

    def array(self) -> Numbers:
        flat = np.frombuffer(self.data, np.dtype(self.dtype).newbyteorder("<"))
        return as_float32(flat.reshape(self.shape, order="F" if self.fortran else "C"))


@dataclass(slots=True, eq=False)
class Converted:
    """Weights in another arrangement"""

    source: Weights
    shape: tuple[int, ...]
    convert: Callable[[Numbers], Numbers]

    def array(self) -> Numbers:
        return np.ascontiguousarray(self.convert(self.source.array()), np.float32).reshape(self.shape)


@dataclass(slots=True, eq=False)
class TensorFlowNetwork:
    """A pickled network of the TensorFlow era; its state comes by BUILD"""

    state: dict[Any, Any] = field(default_factory=dict)


def as_float32(view: Numbers) -> Numbers:
    """A copy in C order. Raises OfficialFileError unless all are finite floating-point numbers."""
    if view.dtype.kind != "f":
        raise OfficialFileError(f"it is of type {view.dtype}, not floating point")
    with np.errstate(over="ignore", invalid="ignore"):
        copy = np.array(view, np.float32, order="C")
    if not np.isfinite(copy).all():
        raise OfficialFileError("it holds infinite numbers or NaN")
    return copy


def as_dict(value: object) -> dict[Any, Any]:
    """value if it is a dict, else an empty one"""
    return value if type(value) is dict else {}
