"""The papers' ablations as data: pipelines/ladders/NAME.yaml.

    title, question, source   what the ladder asks, and where it was asked first
    notes                     what to know before its rows are compared
    chart                     bars, or sizes: metrics against the number of training images
    peaks                     whether feature maps are looked at for droplets (stylegan/analysis/peaks.py)
    base                      values common to all rows, laid over params.yaml
    rows                      each with name, label, params (laid over base), and, where it is a change of another row,
                              `over`: the row that it is laid over; `against`: another row to compare it with
    published                 figures of the source that belong to no row

Values are named by dotted paths. {times: 2} is twice the value below; {fraction: 0.125} is a share, of the training
images for data.max_images, of the whole run for a duration in kimg. Published figures are shown apart from what is
measured, and those in `from_memory` say that nobody has looked them up.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, Strict, model_validator

from pipelines.params import Params, Settings, laid, leaves
from pipelines.yaml_files import read_yaml
from stylegan.config import ConfigError, Section, parse
from stylegan.config.strict import close_to

LADDERS = Path(__file__).parent
FIGURES = ("fid", "ppl", "precision", "recall")  # of the papers' tables

Names = Annotated[tuple[str, ...], Strict(False)]


class Figures(Section):
    """What a paper reports of one configuration on one dataset."""

    fid: float | None = None
    ppl: float | None = None
    precision: float | None = None
    recall: float | None = None
    from_memory: Names = ()

    @model_validator(mode="after")
    def _remembered_are_given(self) -> Self:
        for name in self.from_memory:
            if name not in FIGURES or getattr(self, name) is None:
                raise ValueError(f"from_memory names {name}, which is not a figure of this ladder. Remove it.")
        return self


class Quoted(Section):
    """Published figures of something that is no row of the ladder."""

    label: str
    data: str
    figures: Figures


class Row(Section):
    """One row of a ladder."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.+-]+$")]
    label: str
    over: str | None = None
    against: str | None = None
    params: Settings = Field(default_factory=dict)
    published: dict[str, Figures] = Field(default_factory=dict)  # by dataset


class Ladder(Section):
    """Configurations that differ in what a question is about."""

    name: str
    title: str
    question: str
    source: str
    notes: Names = ()
    chart: Literal["bars", "sizes"] = "bars"
    peaks: bool = False
    base: Settings = Field(default_factory=dict)
    rows: Annotated[tuple[Row, ...], Strict(False), Field(min_length=1)]
    published: Annotated[tuple[Quoted, ...], Strict(False)] = ()

    @model_validator(mode="after")
    def _rows_lie_over_rows_before(self) -> Self:
        known: list[str] = []
        for row in self.rows:
            if row.name in known:
                raise ValueError(f"rows: {row.name} appears twice. Rename one of them.")
            if row.over is not None and row.over not in known:
                raise ValueError(f"rows: {row.name} is laid over {row.over}, which is not an earlier row.")
            known.append(row.name)
        for row in self.rows:
            if row.against is not None and (row.against not in known or row.against == row.name):
                raise ValueError(f"rows: {row.name} is compared with {row.against}, which is not another row.")
        return self

    @cached_property
    def by_name(self) -> dict[str, Row]:
        return {row.name: row for row in self.rows}

    def row(self, name: str) -> Row:
        """Raises ConfigError for a row that the ladder does not have."""
        if name not in self.by_name:
            raise ConfigError(f"ladder {self.name}: {name or 'no row'} is not a row; {close_to(name, [*self.by_name])}")
        return self.by_name[name]

    def compared_with(self, row: Row) -> Row | None:
        """The row that shows what a row changes, if any"""
        name = row.against or row.over
        return None if name is None else self.row(name)

    def overlays(self, row: Row) -> Iterator[Mapping[str, Any]]:
        """What is laid over params.yaml, one over the other: base, the rows below it, its own"""
        if row.over is None:
            yield self.base
        else:
            yield from self.overlays(self.row(row.over))
        yield row.params

    def values(self, name: str, below: Mapping[str, Any], num_images: Callable[[], int]) -> Settings:
        """What a row changes of the sections below, by dotted path; num_images counts the training images if need be.

        Raises ConfigError for a row or a parameter that there is not, or a value that means nothing.
        """
        known, found = dict(leaves(below)), Settings()
        for overlay in self.overlays(self.row(name)):
            for path, value in overlay.items():
                if path not in known:
                    where = f"ladder {self.name}, row {name}"
                    raise ConfigError(f"{where}: {path} is not a parameter; {close_to(path, [*known])}")
                known[path] = found[path] = self._plain(path, value, known, num_images)
        return found

    def _plain(self, path: str, value: Any, known: Mapping[str, Any], num_images: Callable[[], int]) -> Any:
        """{times: 2} and {fraction: 0.5} as the numbers that they stand for"""
        below = known[path]
        match value:
            case {"times": int() | float() as factor} if len(value) == 1 and type(below) in (int, float):
                return type(below)(below * factor)
            case {"fraction": int() | float() as share} if len(value) == 1 and 0 < share <= 1:
                if path == "data.max_images":
                    return None if share == 1 else max(1, round(share * num_images()))
                if path.endswith("_kimg"):
                    return float(f"{share * known['train.total_kimg']:.4g}")
        match value:
            case dict():
                raise ConfigError(
                    f"ladder {self.name}: {path} is {value}; expected a value, {{times: 2}} for a multiple of the "
                    "value below, or {fraction: 0.5}, which data.max_images and durations in kimg can be, up to 1."
                )
        return value


def common(params: Params) -> Settings:
    """The sections below all rows: those given, to be trained and measured as `ablate` says, without truncation"""
    changes: Settings = {"train.total_kimg": params.ablate.total_kimg}
    changes |= {"evaluate.metrics": list(params.ablate.metrics), "evaluate.truncation_psi": [1.0]}
    return laid(params.model_dump(mode="json"), changes)


def of_row(params: Params, ladder: Ladder, name: str, num_images: Callable[[], int]) -> Params:
    """All parameters of a row: its values over those given and those that all rows share

    Raises ConfigError for values that do not fit together.
    """
    below = common(params)
    changes = ladder.values(name, below, num_images)
    try:
        return parse(Params, laid(below, changes), f"ladder {ladder.name}, row {name}")
    except ConfigError as error:  # by the names under which the user sets them
        text = str(error).replace("train.total_kimg", "ablate.total_kimg")
        raise ConfigError(text.replace("evaluate.metrics", "ablate.metrics")) from None


def names() -> list[str]:
    """Every ladder there is"""
    return sorted(path.stem for path in LADDERS.glob("*.yaml"))


def load(name: str) -> Ladder:
    """Raises ConfigError for a ladder that there is not, or a file that is none."""
    if name not in names():
        raise ConfigError(f"{name or 'no name'} is not a ladder; {close_to(name, names())}")
    file = f"pipelines/ladders/{name}.yaml"
    values = read_yaml(LADDERS / f"{name}.yaml", file, "title, question, source and rows")
    return parse(Ladder, {"name": name, **values}, file)


def num_images(archive: Path) -> int:
    """Images of the train split, without mirroring"""
    from pipelines.artifacts.dataset import (
        open_dataset,  # a ladder is read, and its errors told, before torch is imported
    )

    return len(open_dataset(archive, use_labels=False))
