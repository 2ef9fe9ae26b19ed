"""`python -m pipelines.peek`: export, measure and render what a running or stopped run has now, next to it.

Reports go to a folder of their own, laid out as a work tree: models/, reports/index.html. Nothing that DVC keeps, and
nothing of the run, is touched. One process on this machine's processor works at low priority; `cluster.use_gpu=true`
and other values may follow.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.artifacts import metrics_json, run_json, ticks, train_json
from pipelines.artifacts.train_json import TrainRecord
from pipelines.artifacts.workspace import EXPORTED, GENERATOR, TICKS
from pipelines.cluster.processes import run_folders
from pipelines.cluster.signals import stop_on_signals
from pipelines.cluster.workers import run_state
from pipelines.command_table import COMMANDS
from pipelines.evaluate import evaluate
from pipelines.params import ROOT, Params, load
from pipelines.render import render
from pipelines.train import STATE, Kept, take
from stylegan.config import parse
from stylegan.exit_codes import exit_code
from stylegan.text import print_lines

QUIET = ("cluster.address=null", "cluster.num_workers=1", "cluster.cpus_per_worker=1", "cluster.use_gpu=false")
NICENESS = 10  # a trainer on the same cores goes first


class PeekError(RuntimeError):
    """There is nothing to look at; the message says what to do."""


@exit_code
@stop_on_signals()
def main(arguments: Sequence[str] | None = None) -> None:
    """Look at a run, with `section.key=value` arguments over params.yaml."""
    options = COMMANDS["peek"].parse(arguments)
    folder = choose_run(ROOT / "runs", options.run)
    if options.networks is not None:  # nothing is measured or drawn, so only where runs are kept matters
        state = run_state(load(overrides=[*QUIET, *options.overrides]).cluster, folder)
        kept = take(state, STATE, lambda kept: options.networks, best=options.best)
        print_lines(f"run {folder.name}: networks of kimg {kept.nimg / 1000:g} -> {options.networks}")
        return
    params = params_of(folder, options.overrides)
    os.nice(NICENESS)
    if params.cluster.address is None:
        os.environ.pop("RAY_ADDRESS", None)  # the cluster belongs to the trainer
    page = peek(params, folder, Path.cwd(), options.out, best=options.best)
    print_lines(f"report: {page}")


def choose_run(runs: Path, name: str | None) -> Path:
    """The run of a name, or the one that logged last. Raises PeekError."""
    found = {folder.name: folder for folder in run_folders(runs) if (folder / run_json.RUN).exists()}
    if name is not None and name not in found:
        raise PeekError(f"{runs / name}: not a run that can be looked at; found {', '.join(found) or 'none'}.")
    if not found:
        raise PeekError(f"{runs}: no runs yet. `dvc repro train` starts one.")
    logs = {folder: folder / ticks.LOG for folder in found.values()}
    return max(logs, key=lambda folder: _time_of(logs[folder])) if name is None else found[name]


def _time_of(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def params_of(folder: Path, overrides: Sequence[str]) -> Params:
    """What the run is trained with, and of params.yaml what is measured and drawn, on this machine's processor"""
    values = load(overrides=[*QUIET, *overrides]).model_dump(mode="json")
    return parse(Params, values | run_json.read(folder).sections, str(folder / run_json.RUN))


def peek(params: Params, folder: Path, root: Path, out: Path | None, *, best: bool) -> Path:
    """Export, measure and render a snapshot of a run on the archive below `root`, and return the page.

    Raises PeekError, StoreError, and the errors of evaluate and render.
    """

    def place(kept: Kept) -> Path:
        return out or folder / "peek" / f"{kept.nimg:09d}"

    state = run_state(params.cluster, folder)
    kept = take(state, GENERATOR, lambda kept: lay_out(place(kept), root) / EXPORTED, best=best)
    out = place(kept)
    write_record(params, folder, kept, out, best=best)
    print_lines(
        f"run {folder.name}: the {'best' if best else 'newest'} snapshot, of kimg {kept.nimg / 1000:g} -> {out}"
    )
    content = evaluate(params, out, ROOT / "runs" / "features")
    print_lines(*metrics_json.table(content).split("\n"))
    return render(params, out)


def lay_out(out: Path, root: Path) -> Path:
    """A work tree whose images and weights are those of `root`. Raises PeekError for `root` itself."""
    if out.resolve() == root.resolve():
        raise PeekError(f"{out}: holds what DVC keeps. Name another folder with --out.")
    out.mkdir(parents=True, exist_ok=True)
    for name in ("data", "assets"):
        if not (out / name).exists():
            (out / name).symlink_to((root / name).resolve(), target_is_directory=True)
    return out


def write_record(params: Params, folder: Path, kept: Kept, out: Path, *, best: bool) -> None:
    """Write what stage train would have written next to the generator."""
    rows = ticks.read(folder)
    trained = TrainRecord(
        fingerprint=folder.name,
        archive_sha256=run_json.read(folder).archive_sha256,
        resume_from=None,
        snapshot="best" if best else "last",
        cur_nimg=kept.nimg,
        trained_nimg=max([kept.nimg, *(round(row.nimg) for row in rows[-1:])]),
        seed=params.train.seed,
    )
    train_json.write(out, trained)
    ticks.write_csv(rows, out / TICKS)


if __name__ == "__main__":
    sys.exit(main())
