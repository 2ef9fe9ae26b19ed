"""What a sweep found, as files in reports/sweep/:

    table.csv, table.md   a row for each (trial, psi), and one for each trial that was stopped or failed
    target.png            the distance to real images against the first parameter that has numbers, a line a psi
    frontier.png          precision against recall, a line a trial
    parallel.png          parameters, psi and metrics as parallel coordinates, coloured by the distance
    best.yaml             what the best row was made with; `python -m pipelines.plan --from` takes it

The best row has the lowest distance (KID, without it FID) of all trials and psi, and of equals the higher psi.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.artifacts.metric_names import Row, distance_of, label_of, metric_names, short
from pipelines.drawing.markdown import table_lines
from pipelines.params import Params, laid
from pipelines.sweep import plots
from pipelines.sweep.space import described
from stylegan.files import write_bytes, write_csv

FIRST = ("run", "status", "kimg")  # columns before the parameters


@dataclass(frozen=True)
class Found:
    """What became of a trial."""

    drawn: Mapping[str, Any]
    run: str  # its fingerprint; empty where it failed before it had one
    status: str  # measured, stopped or failed
    kimg: float
    kid: float | None  # of the last snapshot that was judged while it trained
    content: Mapping[str, Any] | None  # of metrics.json, where it was measured
    problem: str | None  # what a failed trial said last


def rows_of(found: Sequence[Found]) -> list[dict[str, Any]]:
    """The table: a row for each (trial, psi), and one for each trial that was not measured"""
    rows = []
    for trial in found:
        first = {"run": trial.run, "status": trial.status, "kimg": trial.kimg, **trial.drawn}
        if trial.content is None:
            rows.append({**first, "monitor/kid": trial.kid, "problem": trial.problem})
            continue
        for row in sorted(trial.content["truncation"], key=lambda row: float(row["psi"])):
            rows.append({**first, "psi": row["psi"], **{name: row[name] for name in metric_names(row)}})
    return rows


def best_of(found: Sequence[Found]) -> tuple[Found, Row]:
    """The trial and psi of the lowest distance; of equals the higher psi"""
    candidates = [(trial, row) for trial in found if trial.content for row in trial.content["truncation"]]
    metric = distance_of(candidates[0][1])
    return min(candidates, key=lambda pair: (pair[1][metric], -pair[1]["psi"]))


def summary(found: Sequence[Found]) -> str:
    """The best row in one sentence, and every trial that was not measured"""
    trial, row = best_of(found)
    metric = distance_of(row)
    lines = [
        f"best: {described(trial.drawn)} at psi {row['psi']:g} ({label_of(metric)} {short(row[metric], 3)}), "
        f"run {trial.run}"
    ]
    lines += [f"stopped: {described(t.drawn)} at kimg {t.kimg:g}" for t in found if t.status == "stopped"]
    lines += [f"failed: {described(t.drawn)}: {t.problem}" for t in found if t.status == "failed"]
    return "\n".join(lines)


def write(found: Sequence[Found], params: Params, folder: Path) -> None:
    """Write everything into `folder`, beginning with the table."""
    rows = rows_of(found)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    write_csv(folder / "table.csv", rows)
    write_bytes(folder / "table.md", markdown(found, rows, columns).encode())
    measured = [row for row in rows if row["status"] == "measured"]
    names, metric = [*found[0].drawn], distance_of(best_of(found)[1])
    write_bytes(folder / "target.png", plots.against_parameter(measured, names, metric))
    write_bytes(folder / "frontier.png", plots.frontiers(measured, names))
    write_bytes(folder / "parallel.png", plots.parallel(measured, names, metric))
    write_bytes(folder / "best.yaml", best_yaml(found, params).encode())


def markdown(found: Sequence[Found], rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """The table for readers, the best row bold"""
    trial, best = best_of(found)
    body = [
        (row["run"] == trial.run and row.get("psi") == best["psi"], [_cell(row.get(name)) for name in columns])
        for row in rows
    ]
    return "\n".join([*table_lines(columns, body), "", *summary(found).split("\n")]) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return short(value, 4) if isinstance(value, float) else str(value)


def best_yaml(found: Sequence[Found], params: Params) -> str:
    """The values of the best row as sections of params.yaml, below a line that says what they reached"""
    trial, row = best_of(found)
    metric = distance_of(row)
    values = laid({}, {**trial.drawn, "render.truncation_psi": row["psi"]})
    reached = f"{metric} {short(row[metric], 4)} after {trial.kimg:g} kimg, run {trial.run}"
    return (
        f"# {reached}, the lowest of {len(found)} trials of {params.sweep.total_kimg:g} kimg.\n"
        "# `python -m pipelines.plan --from reports/sweep/best.yaml` writes these values into params.yaml.\n"
    ) + yaml.safe_dump(values, sort_keys=False)
