"""Pickles of arrays that no writer makes: odd types, shapes and states, as a batch of CIFAR-10 could hold them."""

import pickle
import random
from typing import Any

import numpy as np

RECONSTRUCT = np.empty(0).__reduce__()[0]
NAMES = ("u1", "i1", "u2", "i8", "f4", "f8", "b1", "c8", "V8", "V3072", "S8", "U2", "O", "O8", "M8", "m8", "f4,f4", "x")
ORDERS = ("|", "<", ">", "=", "!", "", None, 0)
DATA: tuple[Any, ...] = (b"A" * 16, b"", b"A" * 9216, [1, 2], ["a"] * 9216, "A" * 9216, None, 7)
SIDES: tuple[Any, ...] = (0, 1, 2, 3, 16, 3072, 9216, -1, 2**20, 2.0, True, None, "3")
FIELDS = (None, {"a": (np.dtype("O"), 0)}, {"a": (np.dtype("u1"), 2**20)}, {"a": (np.dtype("u1"), -8)}, {}, {"a": 1})
PARTS = (None, None, (np.dtype("u1"), (2**20,)), (np.dtype("O"), (2,)), (np.dtype("u1"), (-1,)))


class Call:
    """What a pickle makes by a call, with a state"""

    def __init__(self, function: Any, arguments: tuple[Any, ...], state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


def odd_batch(rng: random.Random) -> bytes:
    """A batch of CIFAR-10 with an odd array in place of its images, or of a label"""
    data: Any = odd_array(rng)
    labels: Any = rng.choice([[0, 1, 0], [0, 1, odd_array(rng)], odd_array(rng), [[], {}, None], [0.5, True, 10**20]])
    if rng.random() < 0.3:
        data = np.zeros((3, 3072), np.uint8)
    return pickle.dumps({"data": data, "labels": labels}, protocol=rng.choice([2, 3, 4]))


def odd_array(rng: random.Random) -> Any:
    """An array, a type or something else by the calls that pickled arrays make"""
    kind = rng.randrange(6)
    name = rng.choice(NAMES)
    if kind == 0:
        return Call(np.dtype, (name, False, True))
    if kind == 1:
        return Call(np.ndarray, (tuple(rng.choice(SIDES) for _ in range(2)), name, rng.choice(DATA)))
    if kind == 2:
        return Call(RECONSTRUCT, (rng.choice([np.dtype, np.ndarray, None]), (rng.choice(SIDES),), b"b"))
    shape = rng.choice([(3, 3072), (2,), (), tuple(rng.choice(SIDES) for _ in range(rng.randrange(4)))])
    state = (1, shape, _odd_type(name, rng), rng.choice([True, False, None]), rng.choice(DATA))
    return Call(RECONSTRUCT, (np.ndarray, (0,), b"b"), state[: rng.choice([5, 5, 5, 4])])


def _odd_type(name: str, rng: random.Random) -> Any:
    fields = rng.choice(FIELDS)
    names = None if fields is None else tuple(fields)
    numbers = (rng.choice([8, -1, 0, 2**20]), rng.choice([1, -1, 8]), rng.choice([0, 27, 63]))
    state = (3, rng.choice(ORDERS), rng.choice(PARTS), names, fields, *numbers)
    return Call(np.dtype, (name, False, True), state) if rng.random() < 0.8 else rng.choice(["u1", None, 3])
