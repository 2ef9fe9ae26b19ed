"""Damage to a pickle, opcode by opcode, so that what is left is still a stream that a reader follows."""

import pickletools
import random
import struct
from typing import Any

from benchmarks.hostile.mutations import NUMBERS, TEXTS, corrupt, mutate

HOSTILE = (
    "os.system", "posix.system", "builtins.eval", "builtins.exec", "builtins.getattr", "builtins.__import__",
    "subprocess.Popen", "torch.load", "torch.hub.load", "numpy.load", "numpy.core.multiarray.fromfile", "pty.spawn",
    "webbrowser.open", "functools.partial", "collections.Counter", "socket.create_connection", "builtins.bytearray",
    "numpy.zeros", "torch.FloatStorage", "torch.nn.modules.linear.Linear", "operator.attrgetter", "copyreg._reduce_ex",
    "torch_utils.persistence._reconstruct_persistent_obj", "builtins.set", "collections.OrderedDict", "numpy.ndarray",
)  # fmt: skip
CALL = (
    b"cos\nsystem\n(X\x0e\0\0\0touch executedtR", b"c__builtin__\neval\n(X\x03\0\0\0x+1tR", b"N", b"0", b"}", b"]",
    b")",
    b"(", b"\x85", b"\x86", b"R", b"b", b"\x81", b"u", b"e", b"s", b"a", b"Q", b"2", b"1", b".", b"\x8f", b"\x90",
    b"h\0", b"j\xff\xff\xff\xff", b"\x8b\xff\xff\xff\x7f", b"X\xff\xff\xff\xff", b"B\xff\xff\xff\x7f", b"(" * 2000,
    b"N\x85" * 5000, b"\x96\xff\xff\xff\xff\0\0\0\0", b"\x82\x01", b"i" + b"os\nsystem\n", b"o", b"\x97", b"\x98",
)  # fmt: skip
LONGEST = 20_000  # opcodes that are taken apart


def is_pickle(content: bytes) -> bool:
    return content[:1] == b"\x80" and content[1:2] in b"\x02\x03\x04\x05" and b"." in content[-200:]


def mutate_pickle(content: bytes, rng: random.Random) -> bytes:
    """A stream with opcodes changed, lost, repeated, exchanged or put in"""
    try:
        places = [place for _, _, place in pickletools.genops(content) if place is not None]
    except Exception:  # whatever a stream that is damaged already leads it to
        return corrupt(content, rng)
    ends = [*places[1:], len(content)]
    steps = [content[start:end] for start, end in zip(places, ends, strict=True)]
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        row = rng.randrange(1, len(steps))
        kind = rng.randrange(10)
        if kind < 4:
            steps[row] = change_argument(steps[row], rng)
        elif kind == 4:
            steps[row] = b""
        elif kind == 5:
            steps[row] = steps[row] * rng.choice([2, 2, 1000])
        elif kind == 6:
            other = rng.randrange(1, len(steps))
            steps[row], steps[other] = steps[other], steps[row]
        elif kind == 7:
            steps[row] = steps[rng.randrange(1, len(steps))]
        else:
            steps[row] = steps[row] + rng.choice(CALL)
    return b"".join(steps)


def change_argument(step: bytes, rng: random.Random) -> bytes:
    """One opcode with another number, text, name or bytes"""
    code = step[:1]
    if code == b"c":
        module, _, name = rng.choice(HOSTILE).rpartition(".")
        return f"c{module}\n{name}\n".encode()
    if code in (b"X", b"\x8c", b"U", b"T"):
        text: bytes = rng.choice([*TEXTS, *HOSTILE]).encode("utf-8", "surrogatepass")
        return b"X" + struct.pack("<I", len(text)) + text
    if code in (b"J", b"K", b"M", b"\x8a", b"G", b"I", b"\x88", b"\x89", b"N"):
        return number(rng.choice(NUMBERS))
    if code in (b"B", b"C"):
        inner = mutate(step[5:] if code == b"B" else step[2:], rng)
        return b"B" + struct.pack("<I", len(inner)) + inner
    return corrupt(step, rng) if step else step


def number(value: Any) -> bytes:
    """The opcode of a number"""
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return (
        b"\x8a" + bytes([len(content)]) + content
        if len(content) < 256
        else b"\x8b" + struct.pack("<I", len(content)) + content
    )
