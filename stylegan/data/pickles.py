"""Reads pickles that hold numpy arrays, and refuses every other: nothing in such a file can run code."""

import pickle
import pickletools
from math import prod
from typing import IO, Any

import numpy as np

# Both spellings of numpy's module are in circulation: files of numpy 1 say `core`, of numpy 2 `_core`.
MOST_STEPS = 200_000  # a batch of CIFAR-10 takes 60,000
MOST_NUMBER = 2**28  # elements of an array, or the place of an object among those that are remembered
MOST_TUPLES = 1000  # with the states that arrays get: an array takes five to eight, and the weights of LPIPS are 31
MOST_COPIED = 2**26  # bytes that are used again: each array copies its own
MOST_SHARED = 8  # times that a tuple may be used again: one of itself twice, sixty times over, never ends to be hashed
MOST_SIDES = 32  # of an array
# Steps that leave what is no tuple: what is remembered right behind them may be used again as often as one likes.
PLAIN = (
    "BINBYTES", "SHORT_BINBYTES", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE", "STRING", "UNICODE",
    "GLOBAL", "STACK_GLOBAL", "REDUCE", "EMPTY_LIST", "EMPTY_DICT",
)  # fmt: skip
TYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


class _Type:
    """Type of the numbers of an array, in place of np.dtype, which a file can give a state that ends the process."""

    __slots__ = ("name", "order")

    def __init__(self, name: str) -> None:
        self.name, self.order = name, "="

    def __setstate__(self, state: Any) -> None:
        _, order, *parts = state
        if order not in ("<", ">", "|", "=") or any(part is not None for part in parts[:3]):
            raise ValueError(f"its type is no plain {self.name}")
        self.order = order


class _PlainArray(np.ndarray[Any, Any]):
    """An array whose state is checked before numpy believes it."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, data = state
        if len(shape) > MOST_SIDES:
            raise ValueError(f"it holds an array of {len(shape):,} dimensions")
        dtype = np.dtype(kind.name).newbyteorder(kind.order)
        if not all(isinstance(side, int) and side >= 0 for side in shape) or prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"it holds an array whose shape is not that of its {len(data):,} bytes")
        checked: Any = (1, tuple(shape), dtype, bool(is_fortran), data)
        super().__setstate__(checked)


class _Maker:
    """What a pickle calls to begin an array or a type; it has no attribute that a file could change."""

    __slots__ = ()


class _MakeArray(_Maker):
    __slots__ = ()

    def __call__(self, kind: Any, *_: Any) -> _PlainArray:
        if kind is not _ARRAY:
            raise ValueError("it asks for an array of another class")
        return np.ndarray.__new__(_PlainArray, (0,), np.uint8)


class _MakeType(_Maker):
    __slots__ = ()

    def __call__(self, name: Any, *_: Any) -> _Type:
        if name not in TYPES:
            shown = repr(name[:20]) if isinstance(name, str) else "a structure"
            raise ValueError(f"it holds an array of {shown}, expected plain numbers")
        return _Type(name)


_ARRAY = _Maker()
_MAKERS = {
    ("numpy.core.multiarray", "_reconstruct"): _MakeArray(),  # of numpy 1
    ("numpy._core.multiarray", "_reconstruct"): _MakeArray(),  # of numpy 2
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _MakeType(),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Calls nothing but what `_MAKERS` names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _MAKERS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not a numpy array")
        return _MAKERS[module, name]


def load_arrays(file: IO[bytes], name: str) -> Any:
    """Nested dicts, lists, strings, numbers and numpy arrays of a pickle (Python 2 strings are read as latin-1).

    Raises ValueError that names the file when it asks for anything else, for more than it holds, or is no pickle.
    """
    try:
        _refuse_bombs(file)
        return _ArrayUnpickler(file, encoding="latin1").load()
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        IndexError,
        KeyError,
        AttributeError,
        TypeError,
        OverflowError,
        MemoryError,
        RecursionError,
    ) as error:
        raise ValueError(
            f"{name}: not a pickle of plain arrays ({error}). Only such files are read, so that none can run code; "
            "use the original file from its publisher."
        ) from None


def _refuse_bombs(file: IO[bytes]) -> None:
    # A byte can ask for an object of sixty, and five bytes for a table of 16 GiB.
    plain: dict[int, int] = {}  # bytes of what is remembered and no tuple, by its place
    before, size, num_remembered, num_tuples, num_shared, num_copied = "", 0, 0, 0, 0, 0
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        name = opcode.name
        if number == MOST_STEPS or (isinstance(argument, int) and not -MOST_NUMBER < argument < MOST_NUMBER):
            raise ValueError("more steps or larger numbers than arrays take")
        if name.endswith("PUT") or name == "MEMOIZE":
            place = num_remembered if argument is None else int(argument)
            num_remembered += 1
            plain.pop(place, None)
            if before in PLAIN:
                plain[place] = size
        num_tuples += name == "BUILD" or name.startswith("TUPLE")
        is_used_again, place = name == "DUP" or name.endswith("GET"), int(argument or 0) if name.endswith("GET") else -1
        num_shared += is_used_again and place not in plain
        num_copied += plain.get(place, 0)
        if num_tuples > MOST_TUPLES or num_shared > MOST_SHARED or num_copied > MOST_COPIED:
            raise ValueError("more tuples than arrays take")
        before, size = name, len(argument) if isinstance(argument, bytes | str) else 0
    file.seek(0)
