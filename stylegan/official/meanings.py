"""The names that official files ask for, and the inert record each of them stands for. All others are refused."""

from collections.abc import Callable
from typing import Any

import numpy as np

from stylegan.official.errors import OfficialFileError, printable
from stylegan.official.records import ArrayRecord, DType, Foreign, Module, Storage, TensorFlowNetwork, TensorRecord
from stylegan.official.stream import Budget, Global, Machine, checked_key

MAGIC = 119547037146038801333356  # of torch.save before its files were zips
PROTOCOL = 1001
STORAGES = {
    "FloatStorage": "f4", "HalfStorage": "f2", "DoubleStorage": "f8",
    "LongStorage": "i8", "IntStorage": "i4", "BoolStorage": "b1",
}  # fmt: skip
DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")

# Discriminators of other projects are built from torch's own modules. Nothing of them is needed for the generator, so
# they are passed over like all that is not asked for; a generator that holds one is refused.
FOREIGN = "torch.nn.modules."

# Modules have been renamed: NumPy 2 says _core, protocol 2 says __builtin__.
ALIASES = {"numpy._core": "numpy.core", "__builtin__": "builtins"}


def canonical(module: str, name: str) -> tuple[str, str]:
    """The module under its oldest name, and the name"""
    for new, old in ALIASES.items():
        if module == new or module.startswith(new + "."):
            return old + module[len(new) :], name
    return module, name


class NoObjects:
    """The meaning of a stream without names: nothing."""

    def check(self, module: str, name: str) -> None:
        raise OfficialFileError(f"it asks for {printable(module)}.{printable(name)}, which no official file needs")

    def call(self, function: Global, arguments: tuple[Any, ...]) -> object:
        raise OfficialFileError(f"it calls {function.module}.{function.name}")

    def new(self, cls: Global, arguments: tuple[Any, ...]) -> object:
        raise OfficialFileError(f"it makes an object of {cls.module}.{cls.name}")

    def build(self, instance: object, state: object) -> None:
        raise OfficialFileError(f"it sets the state of a {type(instance).__name__}")

    def persistent(self, pid: object) -> object:
        raise OfficialFileError("it refers to an object outside of the file")


class StorageNames(NoObjects):
    """The meaning of the streams inside a saved storage: its type, and the one reference to it."""

    def check(self, module: str, name: str) -> None:
        if module != "torch" or name not in STORAGES:
            super().check(module, name)

    def persistent(self, pid: object) -> object:
        """('storage', type, key, location, numel, view) -> (dtype, key, numel)"""
        if type(pid) is not tuple or len(pid) not in (5, 6):
            raise OfficialFileError("a reference to something else than a storage")
        kind, cls, key, _, numel, *view = pid
        if kind != "storage" or not isinstance(cls, Global) or type(key) is not str or view not in ([], [None]):
            raise OfficialFileError("a reference to something else than a storage")
        return STORAGES[cls.name], key, numel


class OfficialNames(NoObjects):
    """The meaning of an official file."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.functions: dict[tuple[str, str], Callable[..., object]] = {
            ("torch_utils.persistence", "_reconstruct_persistent_obj"): _module,
            ("collections", "OrderedDict"): self._ordered_dict,
            ("torch._utils", "_rebuild_parameter"): _parameter,
            ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch.storage", "_load_from_bytes"): self._storage,
            ("numpy.core.multiarray", "scalar"): _scalar,
            ("numpy.core.multiarray", "_reconstruct"): _empty_array,
            ("numpy.core.numeric", "_frombuffer"): _array,
            ("numpy", "dtype"): _dtype,
            ("builtins", "set"): self._set,
            ("builtins", "bytes"): _no_bytes,
            ("_codecs", "encode"): self._encode,
        }
        self.classes: dict[tuple[str, str], Callable[[], object]] = {
            ("dnnlib.util", "EasyDict"): dict,
            ("dnnlib.tflib.network", "Network"): TensorFlowNetwork,
        }

    def check(self, module: str, name: str) -> None:
        key = canonical(module, name)
        known = key in self.functions or key in self.classes or key == ("numpy", "ndarray")
        if not known and not module.startswith(FOREIGN):
            super().check(module, name)

    def call(self, function: Global, arguments: tuple[Any, ...]) -> object:
        known = self.functions.get(canonical(function.module, function.name))
        return known(*arguments) if known else super().call(function, arguments)

    def new(self, cls: Global, arguments: tuple[Any, ...]) -> object:
        if cls.module.startswith(FOREIGN) and not arguments:
            return Foreign(cls.name)
        known = self.classes.get(canonical(cls.module, cls.name))
        return known() if known and not arguments else super().new(cls, arguments)

    def build(self, instance: object, state: object) -> None:
        if isinstance(instance, TensorFlowNetwork) and type(state) is dict:
            instance.state = state
        elif isinstance(instance, ArrayRecord) and type(state) is tuple and len(state) == 5:
            _, shape, dtype, fortran, data = state
            instance.fill(shape, dtype, fortran, data)
        elif isinstance(instance, DType) and type(state) is tuple and len(state) > 1 and state[1] in ("<", "|", "="):
            return
        elif not (isinstance(instance, Foreign) and type(state) is dict):
            super().build(instance, state)

    def _storage(self, data: object) -> Storage:
        """A torch.save stream: five pickles (magic, protocol, system, storage, keys), the count, the numbers"""
        if not isinstance(data, memoryview):
            raise OfficialFileError("a storage that does not hold bytes")
        position, values = 0, []
        for _ in range(5):
            machine = Machine(data, position, StorageNames(), self.budget)
            values.append(machine.run())
            position = machine.position
        magic, protocol, system, described, keys = values
        if magic != MAGIC or protocol != PROTOCOL or type(described) is not tuple:
            raise OfficialFileError("a storage in an unknown format")
        if type(system) is not dict or system.get("little_endian") is not True:
            raise OfficialFileError("a storage of a big-endian machine")
        dtype, key, numel = described
        content = data[position + 8 :]
        if keys != [key] or type(numel) is not int or numel < 0:
            raise OfficialFileError("a storage without its key or size")
        size, written = numel * np.dtype(dtype).itemsize, int.from_bytes(data[position : position + 8], "little")
        if written != numel or len(content) != size:
            raise OfficialFileError(f"a storage of {numel} numbers, {size} bytes, has {len(content)} bytes")
        return Storage(dtype, numel, content)

    def _encode(self, text: object, encoding: object) -> memoryview:
        """How protocol 2 writes bytes"""
        if type(text) is not str or encoding != "latin1":
            raise OfficialFileError("bytes in an unknown spelling")
        self.budget.copy(len(text))
        return memoryview(text.encode("latin1"))

    def _ordered_dict(self, pairs: object = ()) -> dict[Any, Any]:
        """Without arguments from Python 3; older ones list the pairs"""
        return {checked_key(key): value for key, value in self._items(pairs)}

    def _set(self, items: object = ()) -> set[Any]:
        return {checked_key(item) for item in self._items(items)}

    def _items(self, items: object) -> list[Any] | tuple[Any, ...]:
        if not isinstance(items, list | tuple):
            raise OfficialFileError(f"a collection of a {type(items).__name__}")
        self.budget.step(len(items))
        return items


def _module(meta: object) -> Module:
    if type(meta) is not dict or meta.get("type") != "class" or type(meta.get("state")) is not dict:
        raise OfficialFileError("a network without class or state")
    name, version, source = meta.get("class_name"), meta.get("version"), meta.get("module_src")
    if type(name) is not str or type(version) is not int or type(source) is not str:
        raise OfficialFileError("a network without class name, version or source")
    return Module(name, version, source, meta["state"])


def _parameter(tensor: object, requires_grad: object, hooks: object, state: object = None) -> TensorRecord:
    if not isinstance(tensor, TensorRecord):
        raise OfficialFileError("a parameter that is not a tensor")
    return tensor


def _tensor(
    storage: object, offset: Any, size: Any, stride: Any, requires_grad: object, hooks: object, metadata: object = None
) -> TensorRecord:
    if not isinstance(storage, Storage) or type(size) is not tuple or type(stride) is not tuple:
        raise OfficialFileError("a tensor without storage, size or stride")
    return TensorRecord(storage, offset, size, stride)


def _dtype(code: object, align: object = False, copy: object = False) -> DType:
    if type(code) is not str or code not in DTYPES:
        raise OfficialFileError("an array of something else than numbers")
    return DType(code)


def _scalar(dtype: object, data: object) -> float | int | bool:
    record = ArrayRecord()
    record.fill((), dtype, False, data)
    value: float | int | bool = np.frombuffer(record.data, np.dtype(record.dtype).newbyteorder("<"))[0].item()
    return value


def _empty_array(cls: object, shape: object, code: object) -> ArrayRecord:
    return ArrayRecord()


def _array(data: object, dtype: object, shape: object, order: object) -> ArrayRecord:
    """How protocol 5 writes arrays"""
    record = ArrayRecord()
    record.fill(shape, dtype, order == "F", data)
    return record


def _no_bytes() -> memoryview:
    return memoryview(b"")
