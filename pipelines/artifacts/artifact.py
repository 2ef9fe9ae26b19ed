"""What every artifact is: strict typed values with a version, written whole, read back or refused in one line."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import ConfigDict, ValidationError

from stylegan.config.strict import Section
from stylegan.files import check_regular, write_json
from stylegan.text import OneLineError, shorten, visible

MAX_PLACE = 300  # characters of a key or a value that a message quotes
IN_RUNS = "Delete it and run the same command again, which writes it"  # the remedy for a file below runs/


class ArtifactError(OneLineError):
    """A file is no artifact of this version; the message says what is wrong and which command writes it again."""


class Values(Section):
    """Base of what artifacts hold: as strict as parameters, but a measured number may be NaN or infinite."""

    model_config = ConfigDict(allow_inf_nan=True)


class Artifact(Values):
    """Base of a file that one stage writes and others read; a subclass pins `version` to the one that it reads."""

    noun: ClassVar[str]  # "a training record"
    command: ClassVar[str]  # that writes it: "dvc repro train"

    version: int

    @classmethod
    def unfolded(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields from what the file holds. May raise ValueError, KeyError, TypeError or AttributeError."""
        return values

    def folded(self) -> Mapping[str, Any]:
        """What the file holds, as plain values"""
        return self.model_dump(mode="json")


A = TypeVar("A", bound=Artifact)


def read(model: type[A], path: Path, remedy: str | None = None) -> A:
    """Read an artifact; remedy: what to do about a file that cannot be read, if not the command that writes it, forced.

    Raises FileNotFoundError, or ArtifactError for another version or a damaged file.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: file not found. Run `{model.command}`, which writes it.")
    check_regular(path)
    return parse(model, path.read_bytes(), path, remedy)


def parse(model: type[A], content: str | bytes, path: Path, remedy: str | None = None) -> A:
    """The artifact that the content of a file is. Raises ArtifactError."""
    remedy = remedy or f"Run `{model.command.replace('repro', 'repro --force')}`, which writes it again"
    try:
        values = json.loads(content)
        found = values.get("version") if isinstance(values, dict) else None
        if isinstance(values, dict) and found != version_of(model):
            held = shorten(visible(found or "unknown"), MAX_PLACE)
            raise ArtifactError(f"{path}: version {held}, expected {version_of(model)}. {remedy}.")
        return model.model_validate_json(json.dumps(model.unfolded(values)))
    except ArtifactError:
        raise
    except ValidationError as error:
        problem = explain(error)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        problem = str(error)
    except KeyError as error:
        problem = f"{error.args[0]} is missing"
    raise ArtifactError(f"{path}: not {model.noun}: {problem}. {remedy}.")


def write(path: Path, record: Artifact) -> None:
    """Write an artifact as indented JSON, whole; equal values give equal bytes."""
    write_json(path, record.folded())


def version_of(model: type[Artifact]) -> int:
    """The version that a model reads and writes"""
    version: int = model.model_fields["version"].default
    return version


def explain(error: ValidationError, separator: str = ".") -> str:
    """The first problem on one line: "cur_nimg: Input should be a valid integer" """
    problem = error.errors()[0]
    place = shorten(visible(separator.join(map(str, problem["loc"]))), MAX_PLACE)
    return f"{place}{': ' if place else ''}{shorten(visible(problem['msg']), MAX_PLACE)}"
