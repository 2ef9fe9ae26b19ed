"""Reads pickle streams as data: a small machine of its own, so that nothing in a file is ever imported or called.

Python's unpickler looks names up and calls what it finds. This machine does neither: a name is a `Global`, and what a
stream wants done with it is decided by the `Meaning` its caller passes. It knows the opcodes that protocols 2 to 5
write for plain data and refuses the others. No step recurses, every step consumes from a budget, and bytes stay views
of the file, so time and memory are bounded by the size of the file.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from stylegan.official.errors import OfficialFileError

MAX_NAME = 256  # bytes of a module or attribute name
MAX_ARGUMENTS = 8
MAX_LONG = 32  # bytes of an integer
MAX_MARKS = 1000  # open brackets; official files have some dozens


@dataclass(frozen=True, slots=True, eq=False)
class Global:
    """A name that a stream asks for, looked up nowhere"""

    module: str
    name: str


@dataclass(slots=True)
class Budget:
    """Work left for a file and the streams within it"""

    steps: int
    copied: int  # bytes of text, which unlike other bytes are no views of the file

    def step(self, count: int = 1) -> None:
        self.steps -= count
        if self.steps < 0:
            raise OfficialFileError("it has far more pickle opcodes than any official file")

    def copy(self, size: int) -> None:
        self.copied -= size
        if self.copied < 0:
            raise OfficialFileError("its streams repeat far more text than the file holds")


class Meaning(Protocol):
    """What names mean in a stream; every method raises OfficialFileError for what is not expected."""

    def check(self, module: str, name: str) -> None: ...
    def call(self, function: Global, arguments: tuple[Any, ...]) -> object: ...
    def new(self, cls: Global, arguments: tuple[Any, ...]) -> object: ...
    def build(self, instance: object, state: object) -> None: ...
    def persistent(self, pid: object) -> object: ...


class Machine:
    """One stream, from `position` in the data to its STOP."""

    def __init__(self, data: memoryview, position: int, meaning: Meaning, budget: Budget) -> None:
        self.data, self.position, self.meaning, self.budget = data, position, meaning, budget
        self.protocol = 0
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # stacks below the open marks
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value of the stream; `position` is then behind it. Raises OfficialFileError that names the byte."""
        start = self.position
        try:
            while (opcode := self.byte()) != STOP:
                self.budget.step()
                start = self.position - 1
                step = STEPS.get(opcode)
                if step is None:
                    raise OfficialFileError(f"opcode {opcode:#04x} has no place in an official file")
                step(self)
            return self.stack.pop()
        except OfficialFileError as error:
            raise OfficialFileError(f"byte {start}: {error}") from None
        except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
            reason = type(error).__name__
            raise OfficialFileError(f"byte {start}: the pickle stream is damaged ({reason})") from None

    def take(self, size: int) -> memoryview:
        end = self.position + size
        if size < 0 or end > len(self.data):
            raise OfficialFileError(f"{size} more bytes were announced, {len(self.data) - self.position} are there")
        self.position, start = end, self.position
        return self.data[start:end]

    def byte(self) -> int:
        if self.position == len(self.data):
            raise OfficialFileError("the pickle stream ends before its STOP")
        self.position += 1
        return self.data[self.position - 1]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def line(self) -> str:
        window = bytes(self.data[self.position : self.position + MAX_NAME])
        length = window.find(b"\n")
        if length < 0:
            raise OfficialFileError(f"a name has more than {MAX_NAME} bytes")
        self.position += length + 1
        return window[:length].decode("ascii")

    def text(self, size: int) -> None:
        content = self.take(size)
        self.budget.copy(size)
        self.stack.append(str(content, "utf-8", "surrogatepass"))

    def mark(self) -> None:
        if len(self.outer) >= MAX_MARKS:
            raise OfficialFileError(f"it nests more than {MAX_MARKS} levels deep")
        self.outer.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.outer.pop()
        return items

    def tuple_of(self, size: int) -> None:
        if size > len(self.stack):
            raise OfficialFileError(f"a tuple of {size} wants more than there is")
        self.stack[len(self.stack) - size :] = [tuple(self.stack[len(self.stack) - size :])]

    def into_dict(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise OfficialFileError(f"pairs for a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[checked_key(key)] = value

    def into_list(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise OfficialFileError(f"items for a {type(target).__name__}")
        target += items

    def into_set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            raise OfficialFileError(f"members for a {type(target).__name__}")
        target.update(checked_key(item) for item in items)

    def named(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str) or len(module) + len(name) > MAX_NAME:
            raise OfficialFileError("a name that is not text, or longer than any")
        self.meaning.check(module, name)
        self.stack.append(Global(module, name))

    def apply(self, verb: Callable[[Global, tuple[Any, ...]], object]) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or type(arguments) is not tuple or len(arguments) > MAX_ARGUMENTS:
            raise OfficialFileError(f"it calls a {type(function).__name__}, which is not a name of the official format")
        self.stack.append(verb(function, arguments))

    def build(self) -> None:
        state = self.stack.pop()
        self.meaning.build(self.stack[-1], state)


def checked_key(key: object) -> object:
    """The key of a dict, or the member of a set, if it is a text or a machine integer.

    Others can take for ever: a tuple hashes all that is nested in it, long integers can be made to collide.
    """
    if type(key) is str or (type(key) is int and -(2**63) <= key < 2**63):
        return key
    raise OfficialFileError(f"a {type(key).__name__} as a key")


def _proto(m: Machine) -> None:
    m.protocol = m.byte()
    if not 2 <= m.protocol <= 5:
        raise OfficialFileError(f"pickle protocol {m.protocol}; official files have 2 to 5")


def _long(m: Machine, size: int) -> None:
    if size > MAX_LONG:
        raise OfficialFileError(f"an integer of {size} bytes")
    m.stack.append(int.from_bytes(m.take(size), "little", signed=True))


def _put(m: Machine, index: int) -> None:
    m.memo[index] = m.stack[-1]


def _stack_global(m: Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    m.named(module, name)


def _push(m: Machine, value: object) -> None:
    m.stack.append(value)


STOP = ord(".")
STEPS: dict[int, Callable[[Machine], object]] = {
    0x80: _proto,
    0x95: lambda m: m.take(8),  # FRAME: a hint for readers of slow files
    ord("("): Machine.mark,
    ord("0"): lambda m: m.stack.pop(),
    ord("1"): Machine.since_mark,
    ord("2"): lambda m: m.stack.append(m.stack[-1]),
    ord("N"): lambda m: _push(m, None),
    0x88: lambda m: _push(m, True),
    0x89: lambda m: _push(m, False),
    ord("J"): lambda m: _push(m, int.from_bytes(m.take(4), "little", signed=True)),
    ord("K"): lambda m: _push(m, m.byte()),
    ord("M"): lambda m: _push(m, m.number(2)),
    0x8A: lambda m: _long(m, m.byte()),
    0x8B: lambda m: _long(m, m.number(4)),
    ord("G"): lambda m: _push(m, struct.unpack(">d", m.take(8))[0]),
    0x8C: lambda m: m.text(m.byte()),
    ord("X"): lambda m: m.text(m.number(4)),
    0x8D: lambda m: m.text(m.number(8)),
    ord("C"): lambda m: _push(m, m.take(m.byte())),
    ord("B"): lambda m: _push(m, m.take(m.number(4))),
    0x8E: lambda m: _push(m, m.take(m.number(8))),
    0x96: lambda m: _push(m, m.take(m.number(8))),  # BYTEARRAY8: nobody changes it, so a view does
    ord("]"): lambda m: _push(m, []),
    ord(")"): lambda m: _push(m, ()),
    ord("}"): lambda m: _push(m, {}),
    0x8F: lambda m: _push(m, set()),
    ord("a"): lambda m: m.into_list([m.stack.pop()]),
    ord("e"): lambda m: m.into_list(m.since_mark()),
    ord("t"): lambda m: _push(m, tuple(m.since_mark())),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("s"): lambda m: m.into_dict([m.stack.pop(), m.stack.pop()][::-1]),
    ord("u"): lambda m: m.into_dict(m.since_mark()),
    0x90: lambda m: m.into_set(m.since_mark()),
    ord("h"): lambda m: _push(m, m.memo[m.byte()]),
    ord("j"): lambda m: _push(m, m.memo[m.number(4)]),
    ord("q"): lambda m: _put(m, m.byte()),
    ord("r"): lambda m: _put(m, m.number(4)),
    0x94: lambda m: _put(m, len(m.memo)),
    ord("c"): lambda m: m.named(m.line(), m.line()),
    0x93: _stack_global,
    ord("R"): lambda m: m.apply(m.meaning.call),
    0x81: lambda m: m.apply(m.meaning.new),
    ord("b"): Machine.build,
    ord("Q"): lambda m: _push(m, m.meaning.persistent(m.stack.pop())),
}
