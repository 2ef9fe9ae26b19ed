"""Reads pickles that hold numpy arrays, and refuses every other: nothing in such a file can run code."""

import pickle
import pickletools
from typing import IO, Any

import numpy as np

# Both spellings of numpy's module are in circulation: files of numpy 1 say `core`, of numpy 2 `_core`.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
MOST_STEPS = 1_000_000  # a batch of CIFAR-10 takes 60,000
MOST_NUMBER = 2**28  # elements of an array, or the place of an object among those that are remembered


class _ArrayUnpickler(pickle.Unpickler):
    """Makes nothing but what `_ALLOWED` names."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not a numpy array")
        return _ALLOWED[module, name]


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
    ) as error:
        raise ValueError(
            f"{name}: not a pickle of plain arrays ({error}). Only such files are read, so that none can run code; "
            "use the original file from its publisher."
        ) from None


def _refuse_bombs(file: IO[bytes]) -> None:
    # A byte can ask for an object of sixty, and five bytes for a table of 16 GiB.
    for number, (_, argument, _) in enumerate(pickletools.genops(file)):
        if number == MOST_STEPS or (isinstance(argument, int) and not -MOST_NUMBER < argument < MOST_NUMBER):
            raise ValueError("more steps or larger numbers than arrays take")
    file.seek(0)
