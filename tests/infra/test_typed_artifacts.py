"""Values keep their types between stages: outside pipelines/artifacts/ nobody reads an artifact's field by string."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from pipelines.artifacts import (
    ladder_json,
    manifest_json,
    metrics_json,
    segments,
    sweep_json,
    ticks,
    train_json,
    transfer_json,
)

UNTYPED = 15  # places in pipelines/ where a dict[str, Any] is meant: sections of params.yaml, records of other tools
MODULES = (ladder_json, manifest_json, metrics_json, segments, sweep_json, ticks, train_json, transfer_json)
# Keys of what is no artifact and shares a field's name: a report to Ray Tune, the register of Ray Train, a record of
# the journal, a source of images, a package, a command, a row of what MLflow is asked to draw.
OTHERS = {
    "assets.py": {"sha256"},
    "cluster/__main__.py": {"status"},
    "cluster/status.py": {"kind", "status"},
    "plan/resolve.py": {"resolution"},
    "prepare.py": {"holdout", "prepare"},
    "serve/on_ray.py": {"name"},
    "sweep/scheduler.py": {"drawn"},
    "train/kept.py": {"metrics"},
    "sweep/trial.py": {"drawn"},
    "sweep/tuner.py": {"drawn", "run", "nimg", "kid", "psi"},
    "tracking/journal.py": {"kind", "status", "name", "kid"},
    "tracking/model_from_code.py": {"seed", "psi"},
    "tracking/registry.py": {"kid", "name"},
    "tracking/records.py": {"status"},
    "tracking/publisher.py": {"file", "kind", "status", "name"},
}


@pytest.fixture
def sources(repository: Path) -> dict[str, str]:
    folder = repository / "pipelines"
    return {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*.py"))}


def fields() -> set[str]:
    models = [model for module in MODULES for model in vars(module).values()]
    return {name for model in models if isinstance(model, type) and issubclass(model, BaseModel)
            for name in model.model_fields}  # fmt: skip


def strings_read(source: str) -> Iterator[str]:
    """Constants by which values are taken: x["name"], x.get("name")."""
    for node in ast.walk(ast.parse(source)):
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
            key = node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            key = node.args[0] if node.args else None
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value


def test_fields_of_artifacts_are_read_as_attributes(sources: dict[str, str]) -> None:
    known = fields()
    assert {"cur_nimg", "truncation", "kimg", "num_enlarged", "snapshot"} <= known
    found = {
        name: wrong
        for name, source in sources.items()
        if not name.startswith("artifacts/")
        and (wrong := {key for key in strings_read(source) if key in known} - OTHERS.get(name, set()))
    }
    assert found == {}


def test_columns_of_the_tick_log_are_fields(sources: dict[str, str]) -> None:
    groups = tuple(f"{name}/" for name in ("loss", "logits", "augment", "grad_norm", "monitor", "ranks"))
    found = {
        (name, key)
        for name, source in sources.items()
        for key in strings_read(source)
        if not name.startswith("artifacts/") and key.startswith(groups)
    }
    assert found == set()


def test_few_values_have_no_type(sources: dict[str, str]) -> None:
    counts = {name: source.count("dict[str, Any]") for name, source in sources.items() if "dict[str, Any]" in source}
    assert sum(counts.values()) < UNTYPED, counts


def test_the_check_sees_both_ways_of_reading() -> None:
    assert [*strings_read('a["kimg"]; b.get("psi", 1); c["x"] = 1; d.get(); e[0]')] == ["kimg", "psi"]
