"""Changes values in a YAML file and leaves its comments, order and layout alone."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import SingleQuotedScalarString

from pipelines.yaml_files import parse_yaml
from stylegan.files import replacing

WIDE = 4096  # columns; a value is never folded


def rewrite(source: Path, target: Path, values: Mapping[str, Any]) -> None:
    """Write `source` to `target` with the value at each dotted path; an unchanged value keeps its spelling.

    Raises KeyError for a path that the source lacks.
    """
    text = rewritten(source.read_text(encoding="utf-8"), values)
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def rewritten(text: str, values: Mapping[str, Any]) -> str:
    """The document with the value at each dotted path."""
    editor = YAML()
    editor.width = WIDE
    # Spelt so that every reader of YAML sees the same: some take 1e-08 for text.
    for kind, tag in ((float, "float"), (type(None), "null")):
        editor.representer.add_representer(
            kind,
            lambda representer, value, tag=f"tag:yaml.org,2002:{tag}": representer.represent_scalar(tag, spelt(value)),
        )
    document = editor.load(text)
    for path, value in values.items():
        *sections, key = path.split(".")
        node = document
        for section in sections:
            node = node[section]
        if node[key] != value or type(node[key]) is bool or type(value) is bool:
            node[key] = _styled(value)
    stream = io.StringIO()
    editor.dump(document, stream)
    result = stream.getvalue()
    _assert_says(result, values)
    return result


def spelt(value: Any) -> str:
    """A value as YAML writes it on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=WIDE).split("\n")[0]


def _styled(value: Any) -> Any:
    if isinstance(value, list):
        items = CommentedSeq([_styled(item) for item in value])
        items.fa.set_flow_style()
        return items
    if isinstance(value, Mapping):  # of a list, such as sweep.space
        return CommentedMap({key: _styled(item) for key, item in value.items()})
    # PyYAML takes a bare `on` or `1_0` for something else than text, and quotes it.
    return SingleQuotedScalarString(value) if isinstance(value, str) and spelt(value).startswith("'") else value


def _assert_says(text: str, values: Mapping[str, Any]) -> None:
    # The stages read with another library; both must agree on what the file says.
    document = parse_yaml(text)
    for path, value in values.items():
        node = document
        for part in path.split("."):
            node = node[part]
        assert node == value, f"{path} reads back as {node!r}, expected {value!r}"
