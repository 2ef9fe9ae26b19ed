"""What code does, as a hash: what was computed by code of the same hash is as good as new."""

import ast
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import stylegan


def code_digest(entries: Sequence[str]) -> str:
    """sha256 over what sources do, files and folders below the root: comments, docstrings and layout may change"""
    root = Path(stylegan.__file__).parent.parent
    digest = hashlib.sha256()
    for file in code_files(root, entries):
        digest.update(file.relative_to(root).as_posix().encode())
        for part in syntax_of(ast.parse(file.read_bytes())):
            digest.update(part.encode())
    return digest.hexdigest()


def code_files(root: Path, entries: Sequence[str]) -> Iterator[Path]:
    """The files, those of folders in order"""
    for entry in entries:
        path = root / entry
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def syntax_of(node: ast.AST) -> Iterator[str]:
    """Kinds, fields and values of a syntax tree in order, without docstrings

    Not ast.dump, whose text differs between versions of Python: fields that hold nothing are left out. An empty place
    in a list has a meaning: the keys of {**a, k: v} begin with one.
    """
    yield f"({type(node).__name__}"
    for name, value in ast.iter_fields(node):
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        if name == "body" and values and _is_docstring(node, values[0]):
            values = values[1:]
        if values:
            yield f" {name}:"
        for item in values:
            if isinstance(item, ast.AST):
                yield from syntax_of(item)
            else:
                yield f" {item!r}"
    yield ")"


def _is_docstring(node: ast.AST, first: object) -> bool:
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    value = first.value if documented and isinstance(first, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
