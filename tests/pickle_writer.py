"""Writes pickle streams opcode by opcode, so that tests can make files that no pickler would."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Name:
    """GLOBAL module name"""

    module: str
    name: str


@dataclass(frozen=True, eq=False)
class Call:
    """function(*arguments) by REDUCE"""

    function: Any
    arguments: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class New:
    """cls.__new__(cls) by NEWOBJ, its items by SETITEMS"""

    cls: Name
    items: dict[Any, Any]


@dataclass(frozen=True, eq=False)
class Built:
    """instance, then its state by BUILD"""

    instance: Any
    state: Any


@dataclass(frozen=True, eq=False)
class Persistent:
    """A persistent id"""

    pid: Any


@dataclass(frozen=True, eq=False)
class Opcodes:
    """Written as they are"""

    content: bytes


class Writer:
    """One stream. Objects that occur twice are written once and fetched from the memo."""

    def __init__(self, protocol: int) -> None:
        self.protocol = protocol
        self.out = bytearray(b"\x80" + bytes([protocol]))
        self.memo: dict[int, int] = {}
        self.kept: list[Any] = []  # so that no id is used twice

    def dump(self, value: Any) -> bytes:
        self.write(value)
        return bytes(self.out + b".")

    def write(self, value: Any) -> None:
        if id(value) in self.memo:
            self.out += b"j" + struct.pack("<I", self.memo[id(value)])
            return
        WRITERS[type(value)](self, value)
        if not isinstance(value, bool | int | float | Opcodes | type(None)):
            self.memo[id(value)] = len(self.kept)
            self.out += b"r" + struct.pack("<I", len(self.kept))
            self.kept.append(value)

    def several(self, values: Sequence[Any]) -> None:
        for value in values:
            self.write(value)

    def integer(self, value: int) -> None:
        if -(2**31) <= value < 2**31:
            self.out += b"J" + struct.pack("<i", value)
        else:
            content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            self.out += b"\x8a" + bytes([len(content)]) + content

    def text(self, value: str) -> None:
        content = value.encode("utf-8", "surrogatepass")
        self.out += b"X" + struct.pack("<I", len(content)) + content

    def bytes(self, value: bytes) -> None:
        if self.protocol < 3:
            return self.write(Call(Name("_codecs", "encode"), (value.decode("latin1"), "latin1")))
        self.out += b"B" + struct.pack("<I", len(value)) + value
        return None

    def name(self, value: Name) -> None:
        if self.protocol < 4:
            self.out += f"c{value.module}\n{value.name}\n".encode()
        else:
            self.several([value.module, value.name])
            self.out += b"\x93"

    def tuple(self, value: tuple[Any, ...]) -> None:
        self.out += b"("
        self.several(value)
        self.out += b"t"

    def list(self, value: list[Any]) -> None:
        self.out += b"]("
        self.several(value)
        self.out += b"e"

    def dict(self, value: dict[Any, Any]) -> None:
        self.out += b"}("
        self.several([part for pair in value.items() for part in pair])
        self.out += b"u"

    def set(self, value: set[Any]) -> None:
        if self.protocol < 4:
            return self.write(Call(Name("__builtin__", "set"), (sorted(value),)))
        self.out += b"\x8f("
        self.several(sorted(value))
        self.out += b"\x90"
        return None

    def new(self, value: New) -> None:
        self.write(value.cls)
        self.out += b")\x81"
        if value.items:
            self.out += b"("
            self.several([part for pair in value.items.items() for part in pair])
            self.out += b"u"

    def pair(self, first: Any, second: Any, opcode: bytes) -> None:
        self.several([first, second])
        self.out += opcode


WRITERS: dict[type, Callable[[Writer, Any], None]] = {
    type(None): lambda w, v: w.out.extend(b"N"),
    bool: lambda w, v: w.out.extend(b"\x88" if v else b"\x89"),
    int: Writer.integer,
    float: lambda w, v: w.out.extend(b"G" + struct.pack(">d", v)),
    str: Writer.text,
    bytes: Writer.bytes,
    tuple: Writer.tuple,
    list: Writer.list,
    dict: Writer.dict,
    set: Writer.set,
    Name: Writer.name,
    New: Writer.new,
    Call: lambda w, v: w.pair(v.function, v.arguments, b"R"),
    Built: lambda w, v: w.pair(v.instance, v.state, b"b"),
    Persistent: lambda w, v: w.pair(v.pid, Opcodes(b""), b"Q"),
    Opcodes: lambda w, v: w.out.extend(v.content),
}


def dump(value: Any, protocol: int = 4) -> bytes:
    """A whole stream"""
    return Writer(protocol).dump(value)
