"""Parameters survive every journey they make: to plain values, to YAML, and through the planner's rewriting."""

import functools
import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import assume, given, settings

from pipelines.params import Params, fingerprint, leaves, load
from pipelines.plan.origins import Choice
from pipelines.plan.resolve import checked
from pipelines.plan.yaml_edit import rewritten
from stylegan.config import ConfigError, parse

PARAMS_YAML = Path(__file__).resolve().parents[2] / "params.yaml"
SCHEMA = Params.model_json_schema()


@functools.cache
def base() -> Params:
    return load(PARAMS_YAML)


def schema_at(path: str) -> dict[str, Any]:
    node: dict[str, Any] = SCHEMA
    for key in path.split("."):
        node = node["properties"][key]
        if "$ref" in node:
            node = SCHEMA["$defs"][node["$ref"].split("/")[-1]]
    return node


def values_of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that the type of a parameter admits."""
    if "anyOf" in schema:
        return st.one_of([values_of(option) for option in schema["anyOf"]])
    if "$ref" in schema:
        return values_of(SCHEMA["$defs"][schema["$ref"].split("/")[-1]])
    if "properties" in schema:
        return st.fixed_dictionaries({key: values_of(value) for key, value in schema["properties"].items()})
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "prefixItems" in schema:
        return st.tuples(*map(values_of, schema["prefixItems"])).map(list)
    if "type" not in schema:  # whatever a plain value may be
        return st.one_of([values_of({"type": kind}) for kind in ("null", "boolean", "integer", "number", "string")])
    kind = schema["type"]
    if kind == "array":
        return st.lists(values_of(schema["items"]), min_size=schema.get("minItems", 0), max_size=5)
    if kind == "integer":
        return st.integers(schema.get("minimum", -(2**31)), schema.get("maximum", 2**31))
    if kind == "number":
        low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
        return st.floats(
            low, high, exclude_min="exclusiveMinimum" in schema, allow_nan=False, allow_infinity=False, width=64
        )
    return {"boolean": st.booleans(), "null": st.none(), "string": st.text(max_size=20)}[kind]


PATHS = sorted(path for path, _ in leaves(base().model_dump(mode="json")))
assignments = st.lists(st.sampled_from(PATHS), min_size=1, max_size=4, unique=True).flatmap(
    lambda paths: st.fixed_dictionaries({path: values_of(schema_at(path)) for path in paths})
)


def with_values(changes: dict[str, Any]) -> Params:
    """The committed parameters with these; combinations that do not fit together are not of interest here."""
    plain = dict(leaves(base().model_dump(mode="json"))) | changes
    try:
        return checked({path: Choice(value, "") for path, value in plain.items()})
    except ConfigError:
        assume(False)
        raise


# Most draws of several sizes at once do not fit together; the rest are plenty.
@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(assignments)
def test_parameters_survive_plain_values_and_yaml(changes: dict[str, Any]) -> None:
    params = with_values(changes)
    plain = params.model_dump(mode="json")
    assert parse(Params, plain, "plain") == params
    assert parse(Params, json.loads(json.dumps(plain)), "json") == params
    assert parse(Params, yaml.safe_load(yaml.safe_dump(plain)), "yaml") == params


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(assignments)
def test_parameters_survive_the_planners_rewriting(changes: dict[str, Any]) -> None:
    params = with_values(changes)
    text = rewritten(PARAMS_YAML.read_text(), dict(leaves(params.model_dump(mode="json"))))
    assert parse(Params, yaml.safe_load(text), "rewritten") == params


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(assignments)
def test_fingerprint_changes_with_the_values_and_not_with_the_order_of_keys(changes: dict[str, Any]) -> None:
    params = with_values(changes)
    backwards = dict(reversed(params.model_dump(mode="json").items()))
    assert fingerprint(parse(Params, backwards, "backwards")) == fingerprint(params)
    assert (fingerprint(params) == fingerprint(base())) == (params == base())


@settings(max_examples=50, deadline=None, database=None, derandomize=True)
@given(st.sampled_from(["", *SCHEMA["properties"]]), st.text(min_size=1, max_size=12))
def test_no_key_is_accepted_that_is_not_a_parameter(section: str, key: str) -> None:
    plain = base().model_dump(mode="json")
    node = plain[section] if section else plain
    assume(key not in node)
    node[key] = 0
    with pytest.raises(ConfigError, match="is not a parameter; "):
        parse(Params, plain, "here")
