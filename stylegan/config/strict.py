"""Strict, frozen sections, and the errors that name a bad value and its remedy.

Knows pydantic and no parameter; `config.py` names those.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from stylegan.text import ProblemsError, shorten, visible


class ConfigError(ProblemsError):
    """A value in the configuration cannot be used; the message says where, why, and what to do."""


class Section(BaseModel):
    """Base of every section: immutable, unknown keys refused, no coercion."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


S = TypeVar("S", bound=Section)


def parse(model: type[S], values: Mapping[str, object], where: str) -> S:
    """Build a section from plain values.

    Raises ConfigError that lists every problem with its dotted path, and suggests the nearest name for an unknown key.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [f"{where}: {line}" for problem in error.errors() for line in _explain(model, problem)]
        raise ConfigError("\n".join(lines)) from None


def _explain(model: type[Section], problem: ErrorDetails) -> Iterator[str]:
    path, value = ".".join(visible(part) for part in problem["loc"]), problem["input"]
    if problem["type"] == "extra_forbidden":
        known = _names_at(model, problem["loc"][:-1])
        yield f"{path} is not a parameter; {close_to(str(problem['loc'][-1]), known)}"
    elif problem["type"] == "missing":
        yield f"{path} is missing; every parameter has its value in this file"
    elif problem["type"] == "value_error":
        yield from problem["msg"].removeprefix("Value error, ").split("\n")  # one problem a line
    else:
        yield f"{path} is {shorten(repr(value), 200)}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def close_to(name: str, known: Sequence[str]) -> str:
    """ "did you mean p_max?", or the known names"""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]}?" if nearest else f"known keys: {', '.join(sorted(known))}"


def _names_at(model: type[Section], path: tuple[int | str, ...]) -> list[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        if field is None:  # an item of a list or a dict, whose model was found with it
            continue
        found = _section_in(field.annotation)
        if found is None:
            return []
        model = found
    return list(model.model_fields)


def _section_in(annotation: object) -> type[Section] | None:
    """The first section that a type mentions"""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for each in get_args(annotation) if (found := _section_in(each)) is not None), None)
