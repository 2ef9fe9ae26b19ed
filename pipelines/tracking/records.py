"""What a journal may hold: a model of each kind of record, so that a publisher never meets another one."""

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from pipelines.artifacts.artifact import Values, explain
from pipelines.params import Scalar

FileName = Annotated[str, Field(pattern=r"^[^./\\][^/\\]*$", max_length=255)]  # in the journal's own folder
Digest = Annotated[str, Field(pattern=r"^[0-9a-zA-Z_.-]+$", max_length=128)]
Step = Annotated[int, Field(ge=-(2**63), lt=2**63)]


class _Record(Values):
    time_ms: Annotated[int, Field(ge=0, lt=2**63)]


class _Facts(_Record):
    kind: Literal["params", "tags"]
    values: dict[str, Scalar]


class _Dataset(_Record):
    kind: Literal["dataset"]
    name: str
    digest: str


class _Status(_Record):
    kind: Literal["status"]
    status: Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


class _Points(_Record):
    kind: Literal["metrics", "summary"]
    step: Step
    values: dict[str, float]


class _Picture(_Record):
    kind: Literal["image"]
    key: str
    step: Step
    file: FileName


class _Samples(_Record):
    kind: Literal["samples"]
    seeds: list[int]
    digest: Digest


class _Copy(_Record):
    kind: Literal["artifact"]
    name: FileName
    digest: Digest


class _Model(_Record):
    kind: Literal["model"]
    name: Annotated[str, Field(pattern=r"^[0-9a-zA-Z_.-]+$", max_length=200)]  # in the registry
    generator: Digest
    card: Digest
    about: str
    kid: Annotated[float, Field(allow_inf_nan=False)] | None
    measured_by: str


_RECORDS: TypeAdapter[Any] = TypeAdapter(
    Annotated[_Facts | _Dataset | _Status | _Points | _Picture | _Samples | _Copy | _Model, Field(discriminator="kind")]
)


def check_record(record: object) -> None:
    """Raises ValueError that says on one line why this is no record of a journal."""
    try:
        _RECORDS.validate_python(record)
    except ValidationError as error:
        raise ValueError(explain(error)) from None
