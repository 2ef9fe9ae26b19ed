"""What a sweep found, as files in reports/sweep/:

    table.csv, table.md   a row for each (trial, psi), and one for each trial that was stopped or failed: means over the
                          seeds of a trial with the standard deviation of one training
    target.png            the distance to real images against the first parameter that has numbers, a line a psi
    frontier.png          precision against recall, a line a trial
    parallel.png          parameters, psi and metrics as parallel coordinates, coloured by the distance
    results.json          all of it, for programs (artifacts/sweep_json.py)
    best.yaml             what the best row was made with; `python -m pipelines.plan --from` takes it

The best row has the lowest mean distance (KID, without it FID) of all trials and psi, and of equals the higher psi.
That may be luck. With several seeds, another trial is called worse at the same psi if the difference exceeds the spread
between runs (diagnosis/between_runs.py), at a level that allows for how many trials there were to choose from. The best
row is bold if all others are worse. With one seed, nothing is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipelines.artifacts import sweep_json
from pipelines.artifacts.metrics_json import Truncation
from pipelines.artifacts.sweep_json import Trial, best_of
from pipelines.diagnosis.between_runs import difference, level_for
from pipelines.drawing.markdown import table_lines
from pipelines.params import Params, laid
from pipelines.sweep import plots
from pipelines.sweep.space import described
from pipelines.tracking.views import describe_links
from stylegan.files import write_bytes, write_csv
from stylegan.metrics.evaluation.metric import distance_of, short
from stylegan.wording import counted


@dataclass(frozen=True)
class TableRow:
    """A (trial, psi), or a trial that was not measured."""

    trial: Trial
    at: Truncation | None
    verdict: str | None = None  # "worse" than the best row

    @property
    def cells(self) -> dict[str, object]:
        """By column"""
        trial = self.trial
        first = {"run": trial.run, "status": trial.status, "kimg": trial.kimg, **trial.drawn}
        if self.at is None:
            return {**first, "monitor/kid": trial.kid, "problem": trial.problem}
        numbers: dict[str, object] = {"seeds": max(len(trial.runs), 1), "psi": self.at.psi}
        for metric in self.at.metrics:
            numbers[metric.name] = metric.value
            numbers |= {} if metric.sd is None else {f"{metric.name}_sd": metric.sd}
        return {**first, **numbers, **({} if self.verdict is None else {"verdict": self.verdict})}


def rows_of(found: Sequence[Trial]) -> list[TableRow]:
    """The table: a row for each (trial, psi), and one for each trial that was not measured"""
    rows: list[TableRow] = []
    (_, best), worse = best_of(found), worse_trials(found)
    for trial in found:
        rows += [
            TableRow(trial, at, "worse" if trial in worse and at.psi == best.psi else None)
            for at in sorted(trial.truncation, key=lambda row: row.psi)
        ]
        rows += [] if trial.truncation else [TableRow(trial, None)]
    return rows


def worse_trials(found: Sequence[Trial]) -> list[Trial]:
    """Trials whose distance at the psi of the best row exceeds it by more than the spread between runs"""
    trial, best = best_of(found)
    measured = [each for each in found if each.truncation]
    # Any of all pairs could have been the best row and another one.
    level, lowest = level_for(math.comb(len(measured), 2)), trial.distances(best.psi)
    others = [each for each in measured if each is not trial and each.runs and lowest]
    return [each for each in others if difference(each.distances(best.psi), lowest, level).is_claimed]


def is_clear(found: Sequence[Trial]) -> bool:
    """Whether every other trial is worse than the best one"""
    num_others = sum(bool(each.truncation) for each in found) - 1
    return 0 < num_others == len(worse_trials(found))


def certainty(found: Sequence[Trial]) -> str:
    """What may be read into the best row"""
    trial, best = best_of(found)
    measured = [each for each in found if each.truncation]
    if min(len(each.runs) for each in measured) < 2:
        return "One seed per trial cannot tell whether the best row is better than others or lucky."
    counts = f"Means of {len(trial.runs)} trainings per trial that differ in train.seed."
    if len(measured) == 1:
        return counts
    if is_clear(found):
        return f"{counts} Every other trial is worse at psi {best.psi:g} by more than the spread between trainings."
    worse = worse_trials(found)
    alike = [described(each.drawn) for each in measured if each is not trial and each not in worse]
    return f"{counts} Within the spread between trainings of the best row at psi {best.psi:g}: {'; '.join(alike)}."


def summary(found: Sequence[Trial]) -> str:
    """The best row in one sentence, how sure that is, and every trial that was not measured"""
    trial, row = best_of(found)
    distance = distance_of(row.metrics)
    sd = "" if distance.sd is None else f", sd {short(distance.sd, 2)}"
    lines = [
        f"best: {described(trial.drawn)} at psi {row.psi:g} ({distance.label} {short(distance.value, 3)}{sd}), "
        f"run {trial.run}",
        certainty(found),
    ]
    lines += [f"stopped: {described(t.drawn)} at kimg {t.kimg:g}" for t in found if t.status == "stopped"]
    lines += [f"failed: {described(t.drawn)}: {t.problem}" for t in found if t.status == "failed"]
    return "\n".join(lines)


def write(found: Sequence[Trial], params: Params, folder: Path, links: Mapping[str, str]) -> None:
    """Write everything into `folder`, beginning with the table.

    links: where MLflow compares the trials, name -> address.
    """
    rows = rows_of(found)
    write_csv(folder / "table.csv", [row.cells for row in rows])
    write_bytes(folder / "table.md", markdown(found, rows, params, links).encode())
    sweep_json.write(folder, found)
    measured = [plots.Point(row.trial.run, row.trial.drawn, row.at) for row in rows if row.at is not None]
    names = [*found[0].drawn]
    write_bytes(folder / "target.png", plots.against_parameter(measured, names))
    write_bytes(folder / "frontier.png", plots.frontiers(measured, names))
    write_bytes(folder / "parallel.png", plots.parallel(measured, names))
    write_bytes(folder / "best.yaml", best_yaml(found, params).encode())


def markdown(found: Sequence[Trial], rows: Sequence[TableRow], params: Params, links: Mapping[str, str]) -> str:
    """The table for readers, the best row bold if it is clearly the best"""
    (trial, best), clear = best_of(found), is_clear(found)
    columns = list(dict.fromkeys(name for row in rows for name in row.cells))
    body = []
    for row in rows:
        is_best = clear and row.trial.run == trial.run and row.at is not None and row.at.psi == best.psi
        found_cells = row.cells
        body.append((is_best, [_cell(found_cells.get(name)) for name in columns]))
    images = f"Every measurement is of {params.evaluate.num_images} generated against all training images."
    where = ["", describe_links(links)] if links else []
    return "\n".join([*table_lines(columns, body), "", images, *summary(found).split("\n"), *where]) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return short(value, 4) if isinstance(value, float) else str(value)


def best_yaml(found: Sequence[Trial], params: Params) -> str:
    """The values of the best row as sections of params.yaml, below a line that says what they reached"""
    trial, row = best_of(found)
    distance = distance_of(row.metrics)
    values = laid({}, {**trial.drawn, "render.truncation_psi": row.psi})
    reached = f"{distance.name} {short(distance.value, 4)} after {trial.kimg:g} kimg, run {trial.run}"
    return (
        f"# {reached}, the lowest of {counted(len(found), 'trial')} of {params.sweep.total_kimg:g} kimg.\n"
        f"# {certainty(found)}\n"
        "# `python -m pipelines.plan --from reports/sweep/best.yaml` writes these values into params.yaml.\n"
    ) + yaml.safe_dump(values, sort_keys=False)
