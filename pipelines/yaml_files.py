"""Reads YAML files that people write: plain values only, and every problem on one line with its place."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from stylegan.config import ConfigError
from stylegan.files import check_regular

MAX_BYTES = 2**20  # params.yaml has 12,000
MAX_VALUES = 100_000  # anchors that are used again and again count every time
MAX_DEPTH = 30  # sections within sections


class _OnceLoader(yaml.SafeLoader):
    """YAML takes the last of two equal keys in silence; here each key appears once. 5e-05 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is not text", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value} appears twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# DVC writes numbers so, and people do; PyYAML takes them for text unless they have a point and a sign.
_OnceLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def read_yaml(path: Path, shown: object, expected: str) -> dict[str, Any]:
    """Sections, lists, texts, numbers, true, false and null of a file; shown is its name in messages.

    Raises ConfigError that names the place of what is not YAML, or is more than that.
    """
    check_regular(path)
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{shown}: {path.stat().st_size:,} bytes, settings have at most {MAX_BYTES:,}.")
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{shown}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{shown}: holds {type(values).__name__}, expected {expected}")
    return values


def parse_yaml(text: str) -> Any:
    """Plain values of a text. Raises ValueError that says on one line what else is in it, and where."""
    try:
        return _plain(yaml.load(text, _OnceLoader), iter(range(MAX_VALUES)), MAX_DEPTH)
    except yaml.YAMLError as error:
        problem = _explain(error)
    except RecursionError:
        problem = "it is nested too deeply"
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # of dates, numbers and tags that are none
        problem = next(iter(str(error).splitlines()), type(error).__name__)
    raise ValueError(problem)


def _explain(error: yaml.YAMLError) -> str:
    """What is wrong and where, on one line"""
    problem = getattr(error, "problem", None) or next(iter(str(error).splitlines()), "")
    mark = getattr(error, "problem_mark", None)
    return f"{problem} (line {mark.line + 1}, column {mark.column + 1})" if mark else str(problem)


def _plain(value: Any, left: Iterator[int], depth: int) -> Any:
    """A copy that shares nothing. Raises ValueError for what is no plain value."""
    if next(left, None) is None:
        raise ValueError(f"it holds more than {MAX_VALUES:,} values")
    if depth == 0:
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"the key {key!r:.100} is not text; put it in quotes")
        return {key: _plain(item, left, depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, left, depth - 1) for item in value]
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("a whole number has more than 64 bits")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{value!r:.100} is a {type(value).__name__}; put it in quotes, or write a number")
