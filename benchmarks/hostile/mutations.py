"""Damage to the content of a file: to what its format holds, as deep as it nests, or to bare bytes.

`mutate` recognises the format. Formats that hold other files (zip, tar, gzip, pickled storages) call it again.
"""

import json
import random
import re
from collections.abc import Callable
from typing import Any

import yaml

from pipelines.artifacts import json_lines

MAX_BYTES = 4 * 2**20  # of what a mutation makes, but for bombs
DEEP = "@deep@"  # in a tree: many nested lists, which json cannot write
STRUCTURED = 0.85  # share of inputs that stay readable as their format, so that damage reaches what reads its content
TEXTS = (
    "", " ", "x" * 10_000, "\x1b[31mred\x1b[0m\n", "a\rb", "../../escaped", "/etc/passwd", "C:\\a\\b", "./a", "a\\b",
    "\ud800", "\0", "e\u0301", "\u202egnp.exe", "nan", "-inf", "1e5", "NaN", "null", "$(touch executed)",
    "; touch executed", "file:///etc/passwd", "s3://nobody/none", "%s%n{0}", "[bold]x[/]", ":smile:", "🎲" * 100,
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2, 3, 7, 255, 256, 65536, 2**31 - 1, 2**31, 2**32, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400,
    0.5, -0.0, 1.5, 1e-320, 1e38, 1e39, 1e308, float("nan"), float("inf"), float("-inf"), True, False,
)  # fmt: skip
LAYERS = (2, 50, 990, 5_000, 100_000)  # of nested brackets

Change = Callable[[bytes, random.Random], bytes]


def mutate(content: bytes, rng: random.Random) -> bytes:
    """A damaged copy, the same for the same random numbers"""
    from benchmarks.hostile import boxes, containers, opcodes, pictures  # they call this function for what they hold

    formats: tuple[tuple[Callable[[bytes], bool], Change], ...] = (
        (containers.is_zip, containers.mutate_zip),
        (containers.is_gzip, containers.mutate_gzip),
        (containers.is_tar, containers.mutate_tar),
        (containers.is_npy, containers.mutate_npy),
        (containers.is_idx, containers.mutate_idx),
        (containers.is_safetensors, containers.mutate_safetensors),
        (pictures.is_png, pictures.mutate_png),
        (boxes.is_family, boxes.mutate_boxes),
        (opcodes.is_pickle, opcodes.mutate_pickle),
        (is_json, mutate_json),
        (is_json_lines, mutate_json_lines),
        (is_yaml, mutate_yaml),
    )
    if rng.random() < STRUCTURED:
        for is_one, change in formats:
            if is_one(content):
                return change(content, rng)
    return corrupt(content, rng)


def corrupt(content: bytes, rng: random.Random) -> bytes:
    """Bits flipped, bytes cut, dropped, repeated, swapped for others, or put before or behind"""
    damaged = bytearray(content or b"\0")
    rng.choice((_flip, _cut, _drop, _splice, _saturate, _wrap))(damaged, rng)
    return bytes(damaged)


def _flip(content: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 1, 3, 30])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _cut(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content)) :]


def _drop(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    del content[start : start + rng.choice([1, 8, 1000])]


def _splice(content: bytearray, rng: random.Random) -> None:
    size = rng.choice([1, 16, 500, 5000])
    source, target = rng.randrange(len(content)), rng.randrange(len(content))
    content[target : target + size * rng.randrange(2)] = content[source : source + size]


def _saturate(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    content[start : start + 4] = rng.choice([b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"cos\nsystem\n", b"\n"])


def _wrap(content: bytearray, rng: random.Random) -> None:
    extra = rng.choice([b"\0" * 100, b"\xef\xbb\xbf", b"#!/bin/sh\n", bytes(content[:1000]), b"\xff\xfe"])
    content[:] = extra + content if rng.random() < 0.5 else content + extra


def is_json(content: bytes) -> bool:
    return content[:1] in (b"{", b"[", b'"', b"n") and _parsed(content) is not _NOTHING


_NOTHING = object()


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return _NOTHING


def mutate_json(content: bytes, rng: random.Random) -> bytes:
    """Values, keys and nesting of a tree, and now and then its spelling"""
    text = write_tree(change_tree(_parsed(content), rng), rng)
    if rng.random() < 0.1:
        first = re.search(r'"[^"]*": [^,{}\[\]]+', text)
        repeated = text.replace(first[0], f"{first[0]}, {first[0]}", 1) if first else text
        text = rng.choice([repeated, text + text, text + ",", f"[{text}", text.replace(":", " ", 1), f"// a\n{text}"])
    return text.encode("utf-8", "surrogatepass")[:MAX_BYTES]


def write_tree(tree: Any, rng: random.Random) -> str:
    """JSON of a tree, with its deep lists"""
    layers = rng.choice(LAYERS)
    return json.dumps(tree).replace(f'"{DEEP}"', "[" * layers + "]" * layers)


def change_tree(tree: Any, rng: random.Random) -> Any:
    """A copy with one or a few of its values, keys or branches changed"""
    root = [json.loads(json.dumps(tree))]
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        places = _places(root)
        parent, key = rng.choice(places)
        rng.choice((_replace, _replace, _replace, _near, _near, _remove, _rename, _repeat, _swap, _wrap_value))(
            parent, key, rng, places
        )
    return root[0] if root else None


def _places(root: list[Any]) -> list[tuple[Any, Any]]:
    found, waiting = [], [root]
    while waiting and len(found) < 20_000:
        parent = waiting.pop()
        for key, value in parent.items() if isinstance(parent, dict) else enumerate(parent):
            found.append((parent, key))
            if isinstance(value, dict | list):
                waiting.append(value)
    return found or [(root, 0)]


def hostile_value(rng: random.Random) -> Any:
    """A value that no writer would have written there"""
    kind = rng.randrange(10)
    if kind < 4:
        return rng.choice(NUMBERS)
    if kind < 7:
        return rng.choice(TEXTS)
    other: list[Any] = [None, [], {}, [[]], [None], [1, 2, 3], {"a": 1}, {"": {}}, [float("nan")], ["x"] * 1000, DEEP]
    return rng.choice(other)


def _replace(parent: Any, key: Any, rng: random.Random, _: Any) -> None:
    if key in parent if isinstance(parent, dict) else key < len(parent):
        parent[key] = hostile_value(rng)


def _near(parent: Any, key: Any, rng: random.Random, _: Any) -> None:
    """Numbers a little or much larger, texts with something added: what only a range or a name tells from the right"""
    value = parent.get(key) if isinstance(parent, dict) else parent[key] if key < len(parent) else None
    if isinstance(value, bool):
        parent[key] = int(value)
    elif isinstance(value, int):
        fraction = float(value) if abs(value) < 2**64 else 0.5
        parent[key] = rng.choice([value + 1, value - 1, -value, 2 * value, 1000 * value, fraction, str(value)])
    elif isinstance(value, float):
        parent[key] = rng.choice([-value, 1000 * value, value / 7, str(value)])
    elif isinstance(value, str):
        parent[key] = rng.choice([value + "x", value[:-1], value.upper(), rng.choice(TEXTS) + value, value + "\n"])
    elif isinstance(value, list):
        parent[key] = rng.choice([value[::-1], value[1:], value + value, {str(i): v for i, v in enumerate(value)}])


def _remove(parent: Any, key: Any, rng: random.Random, _: Any) -> None:
    if isinstance(parent, dict):
        parent.pop(key, None)
    elif key < len(parent):
        del parent[key]


def _rename(parent: Any, key: Any, rng: random.Random, _: Any) -> None:
    if isinstance(parent, dict) and key in parent:
        parent[rng.choice([*TEXTS, key.upper(), key + "x", "0"])] = parent.pop(key)


def _repeat(parent: Any, key: Any, rng: random.Random, _: Any) -> None:
    if isinstance(parent, list) and key < len(parent):
        parent[key:key] = [parent[key]] * rng.choice([1, 10, 300])


def _swap(parent: Any, key: Any, rng: random.Random, places: list[tuple[Any, Any]]) -> None:
    other, name = rng.choice(places)
    try:
        parent[key] = json.loads(json.dumps(other[name]))
    except (KeyError, IndexError, RecursionError):
        return


def _wrap_value(parent: Any, key: Any, rng: random.Random, _: Any) -> None:
    if key in parent if isinstance(parent, dict) else key < len(parent):
        parent[key] = rng.choice([[parent[key]], {"value": parent[key]}, [parent[key], parent[key]]])


def is_json_lines(content: bytes) -> bool:
    lines = content.splitlines()
    return len(lines) > 1 and all(line[:1] == b"{" for line in lines)


def mutate_json_lines(content: bytes, rng: random.Random) -> bytes:
    """A record changed by someone who writes checksums, or lines lost, repeated, torn and in disorder"""
    lines = content.splitlines(keepends=True)
    row = rng.randrange(len(lines))
    if rng.random() < 0.7:
        record = json.loads(lines[row])
        record.pop(json_lines.CHECKSUM, None)
        changed = change_tree(record, rng)
        is_marked = isinstance(changed, dict) and rng.random() < 0.8 and DEEP not in json.dumps(changed)
        lines[row] = json_lines.line_of(changed) if is_marked else write_tree(changed, rng).encode() + b"\n"
    else:
        kind = rng.randrange(6)
        if kind == 0:
            rng.shuffle(lines)
        elif kind == 1:
            lines[row:row] = [lines[row]] * rng.choice([1, 1000])
        elif kind == 2:
            lines[row] = rng.choice([b"\n", b"{}\n", b"[]\n", b"null\n", b"\xff\n", b"{" * 5000 + b"\n", b"7\n"])
        elif kind == 3:
            del lines[row]
        elif kind == 4:
            lines[row] = corrupt(lines[row], rng)
        else:
            lines[-1] = lines[-1][: rng.randrange(len(lines[-1]))]
    return b"".join(lines)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
SPELLINGS = (
    "!!python/object/apply:os.system ['touch executed']", "!!python/name:os.system", "2001-99-99", "2001-12-14",
    "1" * 5000, "0x" + "f" * 5000, "190:20:30", "!!binary aGk=", "!!binary '*'", "!!set {a, b}", "!!timestamp x",
    "!!int x", "!!float x", "&x [*x]", "*nobody", "{? [a]: b}", "{<<: 1}", "{[]: 1}", "{1: 2}", "{null: 1}", "|\n\tx",
    "'unclosed", "[" * 500, "{" * 5000, "[" * 100_000, "%YAML 9.9", "\u0007", "\ufeff", "a: b: c", "!!omap [a: 1]",
    "!!pairs [1]", "1e400", ".nan", "-.inf", "1_000", "0b12", "08", "~", "!unknown x", "- - - -", "\ud800",
)  # fmt: skip


def is_yaml(content: bytes) -> bool:
    return re.search(rb"^[a-z_]+:", content, re.MULTILINE) is not None and b"\0" not in content


def mutate_yaml(content: bytes, rng: random.Random) -> bytes:
    """Values of a tree, or what only YAML can write: tags, anchors, dates, keys that are no text, a key twice"""
    text = content.decode("utf-8", "replace")
    if rng.random() < 0.5:
        try:
            return yaml.safe_dump(change_tree(yaml.safe_load(text), rng), sort_keys=False).encode()
        except (ValueError, TypeError, yaml.YAMLError, RecursionError):
            return corrupt(content, rng)
    lines = text.splitlines(keepends=True)
    row = rng.choice([number for number, line in enumerate(lines) if ":" in line.partition("#")[0]])
    key = lines[row].partition(":")[0]
    kind = rng.randrange(8)
    if kind < 5:
        lines[row] = f"{key}: {rng.choice(SPELLINGS)}\n"
    elif kind == 5:
        lines.insert(row, lines[row])
    elif kind == 6:
        lines[row] = rng.choice([BOMB, "<<: *x\n", "? [1]\n: 2\n", "---\na: 1\n", "null: 1\n", "1: {}\n", "...\n"])
    else:
        lines[row] = rng.choice([" ", "\t", "    "]) + lines[row]
    return "".join(lines).encode("utf-8", "surrogatepass")
